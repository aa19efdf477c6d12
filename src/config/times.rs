//! Rates and times: when how much may be sent, when nothing is, when everything is compared.

use crate::config::fault::Report;
use crate::config::file::HostLimits;
use mirrorball_core::data::timetable::{Bandwidth, SetTimes, Window};

/// A host's bandwidth, by time.
pub fn bandwidth(limits: &HostLimits, key: &str, report: &mut Report) -> Bandwidth {
    let usually = limits.bandwidth.as_deref();
    let usually = usually.and_then(|text| rate(text, &format!("{key}.bandwidth"), report));
    let mut timetable: Vec<(Window, Option<u64>)> = Vec::new();
    for (window, text) in &limits.timetable {
        let key = format!("{key}.timetable.{window}");
        let Some(parsed) = parsed(window, &key, report) else { continue };
        if timetable.iter().any(|(other, _)| other.overlaps(&parsed)) {
            let why = "Another window has some of the same time: which of them should hold?";
            report.fault(key.clone(), why);
        }
        let is_free = text.eq_ignore_ascii_case("unlimited");
        let rate = if is_free { None } else { rate(text, &key, report) };
        timetable.push((parsed, rate));
    }
    Bandwidth { usually, timetable }
}

/// Bytes a second, such as `10MiB/s`.
pub fn rate(text: &str, key: &str, report: &mut Report) -> Option<u64> {
    let parsed = text.strip_suffix("/s").unwrap_or(text).trim().parse::<bytesize::ByteSize>();
    match parsed {
        Ok(size) if size.as_u64() >= 1024 => Some(size.as_u64()),
        _ => {
            let expected = "Expected bytes a second, at least 1KiB/s, such as \"10MiB/s\"";
            report.fault(key, format!("{expected}, found {text:?}"));
            None
        }
    }
}

/// When nothing is begun on a mirror.
pub fn quiet(windows: &[String], key: &str, report: &mut Report) -> Vec<Window> {
    let mut resolved = Vec::new();
    for (index, window) in windows.iter().enumerate() {
        resolved.extend(parsed::<Window>(window, &format!("{key}.quiet[{index}]"), report));
    }
    resolved
}

/// When something begins, in cron's notation.
pub fn set_times(text: Option<&str>, key: &str, report: &mut Report) -> Option<SetTimes> {
    text.and_then(|text| parsed(text, key, report))
}

fn parsed<T: std::str::FromStr<Err = String>>(
    text: &str,
    key: &str,
    report: &mut Report,
) -> Option<T> {
    text.parse().map_err(|why: String| report.fault(key, why)).ok()
}
