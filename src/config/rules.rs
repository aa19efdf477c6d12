//! Filters as written become rules: files are read, patterns are looked at.

use std::path::Path;

use crate::config::fault::Report;
use crate::config::file;
use mirrorball_core::data::plan::Rule;
use mirrorball_core::source::filter::{Filter, parse_rule, parse_rule_file};

/// Reads the filters of a root; faults go to the report.
pub fn resolve(filters: &[file::Filter], key: &str, report: &mut Report) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (index, filter) in filters.iter().enumerate() {
        let key = format!("{key}.filters[{index}]");
        match filter {
            file::Filter::Include(pattern) => one(pattern, true, &key, report, &mut rules),
            file::Filter::Exclude(pattern) => one(pattern, false, &key, report, &mut rules),
            file::Filter::IncludeFrom(path) => from_file(path, true, &key, report, &mut rules),
            file::Filter::ExcludeFrom(path) => from_file(path, false, &key, report, &mut rules),
        }
    }
    if let Err(error) = Filter::new(&rules) {
        report.fault(format!("{key}.filters"), error.to_string());
    }
    rules
}

fn one(pattern: &str, include: bool, key: &str, report: &mut Report, rules: &mut Vec<Rule>) {
    if let Err(why) = check_pattern(pattern.as_bytes()) {
        report.fault(key, why);
    }
    parse_rule(pattern.as_bytes(), include, rules);
}

fn from_file(path: &str, include: bool, key: &str, report: &mut Report, rules: &mut Vec<Rule>) {
    if !Path::new(path).is_absolute() {
        report.fault(key, format!("The path {path:?} is relative; write it from /"));
        return;
    }
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(error) => {
            report.fault(key, format!("Cannot read the rule file {path}: {error}"));
            return;
        }
    };
    for (number, line) in content.split(|b| *b == b'\n').enumerate() {
        let is_pattern = !line.is_empty() && !line.starts_with(b"#") && !line.starts_with(b";");
        if let (true, Err(why)) = (is_pattern, check_pattern(line)) {
            report.fault(key, format!("{path}, line {}: {why}", number + 1));
        }
    }
    if content.starts_with(b"!\n") || content.windows(3).any(|w| w == b"\n!\n") {
        let what = "forgets all rules before it, as in rsync";
        report.warning(key, format!("{path} has a line `!`, which {what}"));
    }
    let parsed = parse_rule_file(&content, include);
    let resets = content.split(|b| matches!(b, b'\n' | b'\r')).any(|line| line == b"!");
    if resets {
        rules.clear();
    }
    rules.extend(parsed);
}

/// What rsync would take without a word and never match.
fn check_pattern(pattern: &[u8]) -> Result<(), String> {
    let body = match pattern {
        [b'+' | b'-', b' ', rest @ ..] => rest,
        rest => rest,
    };
    if body.is_empty() {
        return Err("The pattern is empty".into());
    }
    if body.contains(&0) {
        return Err("The pattern holds a NUL byte".into());
    }
    let mut rest = body;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'\\' => rest = rest.get(1..).unwrap_or_default(),
            b'[' => {
                let after_first = rest.get(1..).unwrap_or_default();
                let close = after_first.iter().position(|b| *b == b']');
                let Some(close) = close else {
                    let text = String::from_utf8_lossy(body);
                    return Err(format!(
                        "The class in {text:?} has no closing ]; rsync would never match it. \
                         Write \\[ for the character itself"
                    ));
                };
                rest = &after_first[close + 1..];
            }
            _ => (),
        }
    }
    Ok(())
}
