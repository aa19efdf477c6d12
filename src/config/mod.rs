//! RON as written becomes a Plan as meant: every fault at once, each with its place and its remedy.

pub mod fault;
pub mod file;
pub mod overlap;
pub mod places;
pub mod read;
pub mod resolve;
pub mod rules;
pub mod survey;

use std::path::Path;

use crate::config::fault::{Faults, Report};
use crate::types::plan::Plan;

/// Reads and resolves a configuration file. The report holds warnings, also beside a good Plan.
pub fn load(path: &Path) -> Result<(Plan, Report), Faults> {
    let text = std::fs::read(path).map_err(|error| {
        Faults::one(path, format!("Cannot read the configuration {}: {error}", path.display()))
    })?;
    let text = String::from_utf8(text).map_err(|error| {
        Faults::one(path, format!("The configuration {} is not UTF-8: {error}", path.display()))
    })?;
    load_text(path, &text)
}

/// The same for a text; `path` is only its name in faults.
pub fn load_text(path: &Path, text: &str) -> Result<(Plan, Report), Faults> {
    let mut report = Report::new(path, text);
    let Some(file) = read::parse(text, &mut report) else { return Err(report.into_faults()) };
    let plan = resolve::resolve(&file, &mut report);
    match plan {
        Some(plan) if !report.has_faults() => Ok((plan, report)),
        _ => Err(report.into_faults()),
    }
}
