//! rsync's filter language, so that watching and batches decide as rsync itself does.
//!
//! Patterns become regular expressions over the path's bytes. What rsync does was read off its
//! behaviour and is compared with the real rsync in `tests/filter.rs`.

use regex::bytes::{RegexSet, RegexSetBuilder};

use crate::data::path::RelPath;
use crate::data::plan::Rule;

/// Compiled rules of a Root.
#[derive(Debug, Clone)]
pub struct Filter {
    rules: Vec<Rule>,
    /// How each rule is tried, in the order of the rules; subjects differ by kind.
    plain: RegexSet,
    matchers: Vec<Matcher>,
}

#[derive(Debug, Clone, Copy)]
struct Matcher {
    include: bool,
    directories_only: bool,
    /// Depends on more than the last component.
    looks_at_parents: bool,
}

/// Rules that can't be compiled, with the pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the rules are too large to be compiled: {0}; write fewer or shorter patterns")]
pub struct BadRules(String);

impl Filter {
    /// Compiles rules, first match wins.
    pub fn new(rules: &[Rule]) -> Result<Self, BadRules> {
        let parsed: Vec<Pattern> = rules.iter().map(Pattern::parse).collect();
        let plain = RegexSetBuilder::new(parsed.iter().map(|p| p.regex.as_str()))
            .unicode(false)
            .size_limit(256 * 1024 * 1024)
            .build()
            .map_err(|e| BadRules(e.to_string()))?;
        Ok(Self {
            rules: rules.to_vec(),
            plain,
            matchers: parsed.into_iter().map(|p| p.matcher).collect(),
        })
    }

    /// Whether the rules keep this path out, judged with every directory above it.
    pub fn excludes(&self, path: &RelPath, is_directory: bool) -> bool {
        if self.matchers.is_empty() || path.is_root() {
            return false;
        }
        let mut above: Vec<RelPath> = path.ancestors().filter(|p| !p.is_root()).collect();
        above.reverse();
        above.iter().any(|directory| self.excludes_entry(directory, true))
            || self.excludes_entry(path, is_directory)
    }

    /// The rule that decides about this path, and what it matches: the path, or the topmost directory above it that
    /// is kept out. None if no rule speaks of it.
    pub fn deciding(&self, path: &RelPath, is_directory: bool) -> Option<(&Rule, RelPath)> {
        let mut above: Vec<RelPath> = path.ancestors().filter(|p| !p.is_root()).collect();
        above.reverse();
        let kept_out = above.into_iter().find(|directory| self.excludes_entry(directory, true));
        let (decided, is_directory) =
            kept_out.map_or((path.clone(), is_directory), |it| (it, true));
        let index = self.first(&decided, is_directory)?;
        Some((&self.rules[index], decided))
    }

    /// The same for an entry of a directory that is known not to be excluded.
    pub fn excludes_entry(&self, path: &RelPath, is_directory: bool) -> bool {
        self.first(path, is_directory).is_some_and(|index| !self.matchers[index].include)
    }

    /// The first rule that matches.
    fn first(&self, path: &RelPath, is_directory: bool) -> Option<usize> {
        if self.matchers.is_empty() {
            return None;
        }
        // A leading slash lets an anchored pattern and a component's begin look alike. A directory
        // carries a second subject, so that `dir/***` matches `dir` itself.
        let mut subject = Vec::with_capacity(path.as_bytes().len() + 2);
        subject.push(b'/');
        subject.extend_from_slice(path.as_bytes());
        let mut first = self.first_match(&subject, is_directory);
        if is_directory {
            subject.push(b'/');
            first = [first, self.first_triple_star(&subject)].into_iter().flatten().min();
        }
        first
    }

    /// Whether a verdict can change when a directory above is renamed.
    pub fn looks_at_parents(&self) -> bool {
        self.matchers.iter().any(|m| m.looks_at_parents)
    }

    fn first_match(&self, subject: &[u8], is_directory: bool) -> Option<usize> {
        self.plain
            .matches(subject)
            .into_iter()
            .find(|index| is_directory || !self.matchers[*index].directories_only)
    }

    fn first_triple_star(&self, subject: &[u8]) -> Option<usize> {
        self.plain.matches(subject).into_iter().find(|index| {
            let (Rule::Include(pattern) | Rule::Exclude(pattern)) = &self.rules[*index];
            trimmed(pattern).ends_with(b"***")
        })
    }
}

/// Reads a file of rules as rsync's `--exclude-from` (or `--include-from`) does: a pattern a line,
/// comments begin with `#` or `;`, a prefix `+ ` or `- ` overrides the kind, `!` forgets all before it.
pub fn parse_rule_file(content: &[u8], include: bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    for line in content.split(|b| matches!(b, b'\n' | b'\r')) {
        if line.is_empty() || line[0] == b'#' || line[0] == b';' {
            continue;
        }
        parse_rule(line, include, &mut rules);
    }
    rules
}

/// Reads one pattern as rsync's `--exclude` (or `--include`) does, after the rules before it.
pub fn parse_rule(pattern: &[u8], include: bool, rules: &mut Vec<Rule>) {
    match pattern {
        b"!" => rules.clear(),
        [b'+', b' ', rest @ ..] if !rest.is_empty() => rules.push(Rule::Include(rest.to_vec())),
        [b'-', b' ', rest @ ..] if !rest.is_empty() => rules.push(Rule::Exclude(rest.to_vec())),
        _ if include => rules.push(Rule::Include(pattern.to_vec())),
        _ => rules.push(Rule::Exclude(pattern.to_vec())),
    }
}

/// The pattern without the slash that says "directories only".
fn trimmed(pattern: &[u8]) -> &[u8] {
    if pattern.len() > 1 { pattern.strip_suffix(b"/").unwrap_or(pattern) } else { pattern }
}

struct Pattern {
    regex: String,
    matcher: Matcher,
}

impl Pattern {
    fn parse(rule: &Rule) -> Self {
        let (include, whole) = match rule {
            Rule::Include(pattern) => (true, pattern.as_slice()),
            Rule::Exclude(pattern) => (false, pattern.as_slice()),
        };
        let pattern = trimmed(whole);
        let directories_only = pattern.len() < whole.len();
        let wild = pattern.iter().any(|b| matches!(b, b'*' | b'?' | b'['));
        let (anchored, body) = match pattern.strip_prefix(b"/") {
            Some(body) => (true, body),
            None => (false, pattern),
        };
        let double_star_first = wild && pattern.starts_with(b"**");
        let start = if anchored {
            r"\A/"
        } else if double_star_first {
            // Matched against the whole path with a slash in front, so that `**/x` finds a top-level x.
            r"\A"
        } else {
            "/"
        };
        let glob = if wild { translate(body) } else { Some(literal(body)) };
        // rsync compares as many components as the pattern has slashes, and counts those in classes,
        // which never match one.
        let two_stars = wild && body.windows(2).any(|w| w == b"**");
        let glob = glob.filter(|_| anchored || two_stars || !wild || !has_slash_in_class(body));
        // A malformed class never matches in rsync; neither does this.
        let regex = match glob {
            Some(glob) => format!(r"(?s-u:{start}{glob}\z)"),
            None => r"[^\s\S]".to_string(),
        };
        let looks_at_parents = anchored || body.contains(&b'/') || two_stars;
        Self { regex, matcher: Matcher { include, directories_only, looks_at_parents } }
    }
}

fn literal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| escaped(*byte)).collect()
}

fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() {
        char::from(byte).to_string()
    } else {
        format!(r"\x{byte:02x}")
    }
}

/// rsync's wildcards as a regular expression; none where the pattern can never match.
fn translate(glob: &[u8]) -> Option<String> {
    let mut regex = String::new();
    let mut rest = glob;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'*' if tail.first() == Some(&b'*') => {
                while let [b'*', more @ ..] = rest {
                    rest = more;
                }
                regex.push_str(".*");
            }
            b'*' => regex.push_str("[^/]*"),
            b'?' => regex.push_str("[^/]"),
            b'[' => {
                let (class, more) = translate_class(tail)?;
                regex.push_str(&class);
                rest = more;
            }
            b'\\' => {
                let (byte, more) = tail.split_first()?;
                regex.push_str(&escaped(*byte));
                rest = more;
            }
            byte => regex.push_str(&escaped(*byte)),
        }
    }
    Some(regex)
}

/// What follows a `[`: the class, which never matches a slash, and the rest of the pattern.
fn translate_class(after_bracket: &[u8]) -> Option<(String, &[u8])> {
    let (negated, mut rest) = match after_bracket {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut members = String::new();
    let mut previous: Option<u8> = None;
    let mut is_first = true;
    loop {
        let (byte, tail) = rest.split_first()?;
        rest = tail;
        match byte {
            b']' if !is_first => break,
            b'[' if tail.first() == Some(&b':') => {
                let end = tail.windows(2).position(|w| w == b":]");
                if let Some(end) = end {
                    members.push_str(posix_class(&tail[1..end])?);
                    rest = &tail[end + 2..];
                    previous = None;
                } else {
                    members.push_str(&escaped(b'['));
                    previous = Some(b'[');
                }
            }
            b'-' if previous.is_some() && tail.first().is_some_and(|b| *b != b']') => {
                let start = previous.take().expect("checked by the guard");
                let (mut end, mut tail) = tail.split_first().expect("checked by the guard");
                if *end == b'\\' {
                    (end, tail) = tail.split_first()?;
                }
                rest = tail;
                if start <= *end {
                    members.push_str(&format!("{}-{}", escaped(start), escaped(*end)));
                }
            }
            b'\\' => {
                let (byte, tail) = tail.split_first()?;
                rest = tail;
                members.push_str(&escaped(*byte));
                previous = Some(*byte);
            }
            byte => {
                members.push_str(&escaped(*byte));
                previous = Some(*byte);
            }
        }
        is_first = false;
    }
    let class = match (negated, members.is_empty()) {
        (false, false) => format!("[[{members}]&&[^/]]"),
        (true, false) => format!("[^/{members}]"),
        (false, true) => return None,
        (true, true) => "[^/]".to_string(),
    };
    Some((class, rest))
}

fn has_slash_in_class(glob: &[u8]) -> bool {
    let mut rest = glob;
    while let Some((first, tail)) = rest.split_first() {
        rest = match first {
            b'\\' => tail.get(1..).unwrap_or_default(),
            b'[' => match translate_class(tail) {
                Some((_, after)) if tail[..tail.len() - after.len()].contains(&b'/') => {
                    return true;
                }
                Some((_, after)) => after,
                None => return false,
            },
            _ => tail,
        };
    }
    false
}

fn posix_class(name: &[u8]) -> Option<&'static str> {
    Some(match name {
        b"alnum" => "[:alnum:]",
        b"alpha" => "[:alpha:]",
        b"blank" => "[:blank:]",
        b"cntrl" => "[:cntrl:]",
        b"digit" => "[:digit:]",
        b"graph" => "[:graph:]",
        b"lower" => "[:lower:]",
        b"print" => "[:print:]",
        b"punct" => "[:punct:]",
        b"space" => "[:space:]",
        b"upper" => "[:upper:]",
        b"xdigit" => "[:xdigit:]",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules as rsync writes them (`- x`, `+ y`), then paths, directories with a slash at the end.
    fn check(rules: &[&str], excluded: &[&str], included: &[&str]) {
        let mut parsed = Vec::new();
        rules.iter().for_each(|rule| parse_rule(rule.as_bytes(), false, &mut parsed));
        let filter = Filter::new(&parsed).unwrap();
        let verdict = |path: &str| {
            let plain = path.strip_suffix('/').unwrap_or(path);
            filter.excludes(&plain.into(), plain.len() < path.len())
        };
        excluded
            .iter()
            .for_each(|path| assert!(verdict(path), "{path} should be excluded by {rules:?}"));
        included
            .iter()
            .for_each(|path| assert!(!verdict(path), "{path} should be included by {rules:?}"));
    }

    #[test]
    fn a_pattern_without_slash_matches_the_name_anywhere() {
        check(&["*.new"], &["a.new", "d/a.new"], &["a.newer", "new"]);
        check(&["core"], &["core", "a/core", "core/x"], &["score", "core2"]);
    }

    #[test]
    fn slashes_anchor_limit_to_directories_and_match_tails() {
        check(&["/a"], &["a", "a/b"], &["b/a"]);
        check(&["a/"], &["a/", "b/a/", "a/x"], &["a", "b/a"]);
        check(&["a/b"], &["a/b", "x/a/b"], &["a/c", "xa/b"]);
    }

    #[test]
    fn two_stars_cross_slashes_and_three_take_the_directory_too() {
        check(&["/d/**"], &["d/x", "d/x/y"], &["d/", "d"]);
        check(&["/d/***"], &["d/", "d/x", "d/x/y"], &["d", "dd/x"]);
        check(&["**/x"], &["x", "a/x", "a/b/x"], &["ax"]);
    }

    #[test]
    fn the_first_match_wins() {
        check(&["+ keep.new", "- *.new"], &["a.new"], &["keep.new", "d/keep.new"]);
        check(&["- *.new", "+ keep.new"], &["a.new", "keep.new"], &["x"]);
    }

    #[test]
    fn classes_and_escapes_read_as_in_rsync() {
        check(&["[a-c]x"], &["ax", "cx"], &["dx", "x"]);
        check(&["[!a]x"], &["bx"], &["ax"]);
        check(&["[[:digit:]]*"], &["1", "2x"], &["x1"]);
        check(&[r"\*"], &["*"], &["x"]);
        check(&[r"\**"], &["*", "*x"], &["x"]);
        check(&["[]x]"], &["]", "x"], &["["]);
        check(&["[abc"], &[], &["a", "[abc"]);
    }

    #[test]
    fn rule_files_have_comments_prefixes_and_a_reset() {
        let rules = parse_rule_file(b"# c\n; c\n*.o\n\n+ keep\n- gone\n", false);
        let [a, b, c] = [&rules[0], &rules[1], &rules[2]];
        assert_eq!(*a, Rule::Exclude(b"*.o".to_vec()));
        assert_eq!(*b, Rule::Include(b"keep".to_vec()));
        assert_eq!(*c, Rule::Exclude(b"gone".to_vec()));
        assert_eq!(parse_rule_file(b"a\n!\nb\n", true), [Rule::Include(b"b".to_vec())]);
    }

    #[test]
    fn a_literal_pattern_matches_its_path_alone() {
        for name in ["a*b", r"a\b", "a[b]c", r"a\*b", "?"] {
            let path = RelPath::from("d").join(name.as_bytes());
            let filter = Filter::new(&[Rule::exclude_exactly(&path)]).unwrap();
            assert!(filter.excludes(&path, false), "{name}");
            assert!(!filter.excludes(&"d/axb".into(), false), "{name}");
        }
    }
}
