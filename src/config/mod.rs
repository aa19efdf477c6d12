//! RON as written becomes a Plan as meant: every fault at once, each with its place and its remedy.

pub mod fault;
pub mod file;
pub mod overlap;
pub mod places;
pub mod read;
pub mod reference;
pub mod resolve;
pub mod rules;
pub mod survey;
pub mod times;

use std::path::{Path, PathBuf};

use crate::config::fault::{Faults, Report};
use mirrorball_core::data::plan::Plan;

/// Reads and resolves a configuration file. The report holds warnings, also beside a good Plan.
pub fn load(path: &Path) -> Result<(Plan, Report), Faults> {
    let text = read_text(path)?;
    load_text(path, &text)
}

/// The same for a daemon that starts: a source that is not there is waited for, so that one disk that
/// is not mounted stops no other root.
pub fn load_to_run(path: &Path) -> Result<(Plan, Report), Faults> {
    let text = read_text(path)?;
    let (plan, mut report) = read(path, &text)?;
    report.allow_absences();
    good(plan, report)
}

/// The same for a text; `path` is only its name in faults.
pub fn load_text(path: &Path, text: &str) -> Result<(Plan, Report), Faults> {
    let (plan, report) = read(path, text)?;
    good(plan, report)
}

fn read(path: &Path, text: &str) -> Result<(Option<Plan>, Report), Faults> {
    let mut report = Report::new(path, text);
    let Some(file) = read::parse(text, &mut report) else { return Err(report.into_faults()) };
    let plan = resolve::resolve(&file, &mut report);
    Ok((plan, report))
}

fn good(plan: Option<Plan>, report: Report) -> Result<(Plan, Report), Faults> {
    match plan {
        Some(plan) if !report.has_faults() => Ok((plan, report)),
        _ => Err(report.into_faults()),
    }
}

/// The control socket that a configuration names, if it names one; nothing else is looked at, so that a
/// daemon can be talked to while its file is being changed.
pub fn socket_of(path: &Path) -> Result<Option<PathBuf>, Faults> {
    let text = read_text(path)?;
    let mut report = Report::new(path, &text);
    match read::parse(&text, &mut report) {
        Some(file) => Ok(file.control.socket.map(PathBuf::from)),
        None => Err(report.into_faults()),
    }
}

fn read_text(path: &Path) -> Result<String, Faults> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| {
        Faults::one(path, format!("Cannot read the configuration: {error}; --config names another"))
    })?;
    String::from_utf8(text).map_err(|error| {
        Faults::one(path, format!("The configuration {shown} is not UTF-8: {error}"))
    })
}
