//! What is wrong with a configuration: collected, sorted by place, told all at once.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::places::Places;

/// One thing that is wrong, or doubtful.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Line and column, from 1, where they can be had.
    pub place: Option<(usize, usize)>,
    /// The key path, such as `roots.site.mirrors[0].host`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, what was expected, and what to do.
    pub message: String,
}

/// Faults and warnings as they are found.
#[derive(Debug)]
pub struct Report {
    file: PathBuf,
    text: String,
    places: Places,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
    /// Faults of the moment, which a daemon waits out.
    absences: Vec<Fault>,
}

/// A configuration that can't be used.
#[derive(Debug)]
pub struct Faults {
    file: PathBuf,
    text: String,
    /// All of them, by place.
    pub faults: Vec<Fault>,
    /// What is doubtful besides.
    pub warnings: Vec<Fault>,
}

impl Report {
    /// Nothing found yet.
    pub fn new(file: &Path, text: &str) -> Self {
        Self {
            file: file.to_path_buf(),
            text: text.to_string(),
            places: Places::scan(text),
            faults: Vec::new(),
            warnings: Vec::new(),
            absences: Vec::new(),
        }
    }

    /// Something is not there at this key path, but may come, such as a disk that is mounted later.
    pub fn absence(&mut self, key: impl Into<String>, message: impl Into<String>) {
        let absence = self.at(key.into(), message.into());
        self.absences.push(absence);
    }

    /// Takes what is not there for doubtful instead of wrong.
    pub fn allow_absences(&mut self) {
        self.warnings.append(&mut self.absences);
    }

    /// Something is wrong at this key path.
    pub fn fault(&mut self, key: impl Into<String>, message: impl Into<String>) {
        let fault = self.at(key.into(), message.into());
        self.faults.push(fault);
    }

    /// Something is wrong at this place of the text.
    pub fn fault_at(&mut self, offset: usize, message: impl Into<String>) {
        let key = self.places.key_at(offset).unwrap_or_default();
        let place = Some(line_and_column(&self.text, offset));
        self.faults.push(Fault { place, key, message: message.into() });
    }

    /// The text is no RON at this place; its line is shown.
    pub fn syntax_fault(&mut self, offset: usize, message: impl Into<String>) {
        let place = Some(line_and_column(&self.text, offset));
        self.faults.push(Fault { place, key: String::new(), message: message.into() });
    }

    /// Something is doubtful at this key path.
    pub fn warning(&mut self, key: impl Into<String>, message: impl Into<String>) {
        let warning = self.at(key.into(), message.into());
        self.warnings.push(warning);
    }

    /// The line, from 1, that holds this byte of the text.
    pub fn line_of(&self, offset: usize) -> usize {
        line_and_column(&self.text, offset).0
    }

    /// Where every key stands.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Whether something is wrong.
    pub fn has_faults(&self) -> bool {
        !self.faults.is_empty() || !self.absences.is_empty()
    }

    /// What is doubtful.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// One line for each warning.
    pub fn warning_lines(&self) -> Vec<String> {
        self.warnings.iter().map(|w| line(&self.file, "warning", w)).collect()
    }

    /// Treats warnings as faults.
    pub fn deny_warnings(mut self) -> Result<(), Faults> {
        self.faults.append(&mut self.warnings);
        self.faults.append(&mut self.absences);
        if self.faults.is_empty() { Ok(()) } else { Err(self.into_faults()) }
    }

    /// Ends the collecting.
    pub fn into_faults(mut self) -> Faults {
        self.faults.append(&mut self.absences);
        self.faults.sort();
        self.faults.dedup();
        Faults { file: self.file, text: self.text, faults: self.faults, warnings: self.warnings }
    }

    fn at(&self, key: String, message: String) -> Fault {
        // A key that is not written has the place of what is around it.
        let mut shown = key.as_str();
        let mut place = self.places.offset(shown);
        while place.is_none() && !shown.is_empty() {
            shown = &shown[..shown.rfind(['.', '[']).unwrap_or(0)];
            place = self.places.offset(shown);
        }
        let place = place.map(|offset| line_and_column(&self.text, offset));
        Fault { place, key, message }
    }
}

impl Faults {
    /// A single fault that has no place.
    pub fn one(file: &Path, message: String) -> Self {
        let fault = Fault { place: None, key: String::new(), message };
        Self {
            file: file.to_path_buf(),
            text: String::new(),
            faults: vec![fault],
            warnings: Vec::new(),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{}", line(&self.file, "error", fault))?;
            // A fault of syntax has no key; its line says more.
            if let (true, Some((number, column))) = (fault.key.is_empty(), fault.place)
                && let Some(text) = self.text.lines().nth(number - 1)
            {
                writeln!(f, "  {number} | {text}")?;
                let indent = number.to_string().len() + 3 + column;
                writeln!(f, "{:>width$}", "^", width = indent + 2)?;
            }
        }
        for warning in &self.warnings {
            writeln!(f, "{}", line(&self.file, "warning", warning))?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

fn line(file: &Path, severity: &str, fault: &Fault) -> String {
    let mut line = file.display().to_string();
    if let Some((number, column)) = fault.place {
        line.push_str(&format!(":{number}:{column}"));
    }
    line.push_str(&format!(": {severity}: "));
    if !fault.key.is_empty() {
        line.push_str(&format!("{}: ", fault.key));
    }
    line.push_str(&fault.message);
    line
}

/// Line and column from 1, columns counted in characters.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// What was probably meant.
pub fn suggestion<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.into_iter().map(|name| (strsim::jaro_winkler(found, name), name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    // Short names are alike by a letter, long ones by most of them.
    (best.0 > 0.75 || strsim::osa_distance(found, best.1) <= 1).then_some(best.1)
}
