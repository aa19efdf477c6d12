//! Parsing, with every fault of meaning at once: what is wrong is told, blanked out, and the rest is
//! parsed again. A fault of syntax ends it.

use ron::Error as Code;
use ron::extensions::Extensions;

use crate::config::fault::{Report, suggestion};
use crate::config::file::File;
use crate::config::places::{Item, Places};

/// More faults than this are not looked for.
const FAULTS_MAX: usize = 200;

/// Parses a configuration. None after a fault of syntax; faults of meaning are in the report.
pub fn parse(text: &str, report: &mut Report) -> Option<File> {
    report_duplicates(report);
    let mut patched = Patched::new(text);
    for _ in 0..FAULTS_MAX {
        let options = ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME);
        let error = match options.from_str::<File>(&patched.text) {
            Ok(file) => return Some(file),
            Err(error) => error,
        };
        let start = patched.original_offset(error.span.start.line, error.span.start.col);
        let item = report.places().item_at(start).cloned();
        let (Some(message), Some(item)) = (meaning(&error.code, text, item.as_ref()), item) else {
            report.syntax_fault(start, format!("{}; the text is not RON here", error.code));
            return None;
        };
        // What is written twice was told before.
        if !matches!(error.code, Code::DuplicateStructField { .. }) {
            report.fault_at(start, message);
        }
        patched.blank_out(&item);
    }
    None
}

/// A field or key written twice would silently lose the first.
fn report_duplicates(report: &mut Report) {
    let items = report.places().items().to_vec();
    let mut keys = std::collections::BTreeMap::new();
    let mut second = 0..0;
    for item in items {
        let is_named = item.value > item.start;
        // Everything in something that is written twice is.
        if second.contains(&item.start) {
            continue;
        }
        if is_named && let Some(first) = keys.insert(item.key.clone(), item.start) {
            let line = report.line_of(first);
            report.fault_at(item.start, format!("Written twice, first in line {line}; remove one"));
            second = item.start..item.end;
        }
    }
}

/// Says what a fault of meaning means; none for faults of syntax.
fn meaning(code: &Code, text: &str, item: Option<&Item>) -> Option<String> {
    let is_quoted =
        item.is_some_and(|item| text.get(item.value..).is_some_and(|rest| rest.starts_with('"')));
    let unknown = |what: &str, found: &str, expected: &[&'static str]| {
        let meant = match suggestion(found, expected.iter().copied()) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => String::new(),
        };
        let known: Vec<String> = expected.iter().map(|name| format!("`{name}`")).collect();
        format!("Unknown {what} `{found}`{meant} Known are {}", known.join(", "))
    };
    Some(match code {
        Code::NoSuchStructField { expected, found, .. } => unknown("field", found, expected),
        Code::NoSuchEnumVariant { expected, found, .. } => unknown("name", found, expected),
        Code::DuplicateStructField { field, .. } => format!("`{field}` is written twice"),
        Code::MissingStructField { field, .. } => format!("`{field}` is missing"),
        Code::ExpectedString => "Expected a text in double quotes, such as \"50ms\"".into(),
        Code::ExpectedInteger | Code::IntegerOutOfBounds => {
            "Expected a whole number without quotes".into()
        }
        Code::ExpectedBoolean => "Expected `true` or `false`".into(),
        Code::ExpectedArray => "Expected a list in [ ]".into(),
        Code::ExpectedMap => "Expected a map in { }, such as { \"name\": … }".into(),
        Code::ExpectedStructLike | Code::ExpectedNamedStructLike(_) => {
            "Expected fields in parentheses".into()
        }
        Code::ExpectedDifferentStructName { expected, found } => {
            format!("Expected `{expected}` but found `{found}`")
        }
        Code::InvalidValueForType { expected, found } => {
            format!("Expected {expected}, found {found}")
        }
        Code::ExpectedIdentifier if is_quoted => "Expected a name without quotes".into(),
        Code::Message(message) => message.clone(),
        _ => return None,
    })
}

/// A text with what is wrong blanked out, and bare `Local` hosts written in full; places lead back.
struct Patched {
    original: String,
    text: String,
    /// Offsets in the original after which two bytes were inserted.
    inserted: Vec<usize>,
}

impl Patched {
    fn new(text: &str) -> Self {
        let bare = |item: &&Item| {
            let name = item.key.strip_prefix("hosts.");
            name.is_some_and(|name| !name.contains('.'))
                && text.get(item.value..item.end) == Some("Local")
        };
        let inserted = Places::scan(text).items().iter().filter(bare).map(|i| i.end).collect();
        let mut new = Self { original: text.to_string(), text: String::new(), inserted };
        new.patch();
        new
    }

    fn patch(&mut self) {
        self.text = String::with_capacity(self.original.len() + 16);
        let mut from = 0;
        for at in &self.inserted {
            self.text.push_str(&self.original[from..*at]);
            self.text.push_str("()");
            from = *at;
        }
        self.text.push_str(&self.original[from..]);
    }

    fn original_offset(&self, line: usize, column: usize) -> usize {
        let start = self.text.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>();
        let rest = &self.text[start..];
        let within = rest.char_indices().nth(column - 1).map_or(rest.len(), |(at, _)| at);
        let mut offset = start + within;
        for (count, at) in self.inserted.iter().enumerate() {
            if *at + 2 * count < start + within {
                offset -= 2;
            }
        }
        offset
    }

    /// Blanks out an item with the comma behind it, or the one before it at the end of a list.
    fn blank_out(&mut self, item: &Item) {
        // What is no RON may begin or end in the middle of a character.
        let text = &self.original;
        let start = (0..=item.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        let after = (item.end.min(text.len())..=text.len()).find(|at| text.is_char_boundary(*at));
        let range = start.unwrap_or_default()..after.unwrap_or(text.len());
        let mut bytes = std::mem::take(&mut self.original).into_bytes();
        let mut end = range.end;
        while bytes.get(end).is_some_and(u8::is_ascii_whitespace) {
            end += 1;
        }
        if bytes.get(end) == Some(&b',') {
            bytes[end] = b' ';
        }
        for byte in &mut bytes[range] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        self.original = String::from_utf8(bytes).expect("whole characters were replaced by spaces");
        self.inserted.retain(|at| *at <= item.start || *at > item.end);
        self.patch();
    }
}
