//! Our verdict on paths against the real rsync's, over generated rules and trees.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::Rule;
use mirrorball_core::source::filter::{Filter, parse_rule};
use proptest::prelude::*;

use crate::support::in_memory;

/// Everything that rsync would send from a tree under these rules.
fn sent_by_rsync(source: &Path, rules: &Path, target: &Path) -> BTreeSet<PathBuf> {
    let output = Command::new("rsync")
        .args(["-a", "--from0"])
        .arg(format!("--filter=merge {}", rules.display()))
        .arg("./")
        .arg(target)
        .current_dir(source)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    all_paths(target)
}

fn all_paths(root: &Path) -> BTreeSet<PathBuf> {
    let mut paths = BTreeSet::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(root.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                todo.push(path.clone());
            }
            paths.insert(path);
        }
    }
    paths
}

fn check(rules: &[Rule], files: &[Vec<String>]) {
    let dir = in_memory();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    for components in files {
        let path: PathBuf = components.iter().collect();
        let full = source.join(path);
        // A name may already be a file or a directory; either way the tree stays a tree.
        if fs::create_dir_all(full.parent().unwrap()).is_ok() && !full.exists() {
            fs::write(full, "").unwrap();
        }
    }
    let rule_file = dir.path().join("rules");
    let lines: Vec<u8> = rules.iter().flat_map(|rule| [rule.line(), vec![0]].concat()).collect();
    fs::write(&rule_file, lines).unwrap();
    let filter = Filter::new(rules).unwrap();
    let ours: BTreeSet<PathBuf> = all_paths(&source)
        .into_iter()
        .filter(|path| {
            let relative = RelPath::parse(path.as_os_str().as_bytes()).unwrap();
            !filter.excludes(&relative, source.join(path).is_dir())
        })
        .collect();
    let rsyncs = sent_by_rsync(&source, &rule_file, &dir.path().join("target"));
    let shown: Vec<String> =
        rules.iter().map(|rule| String::from_utf8_lossy(&rule.line()).into_owned()).collect();
    assert_eq!(ours, rsyncs, "under {shown:?}");
}

fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{1,2}",
        1 => prop::sample::select(vec!["a.b", "*", "[a]", "a?", "a\\", "-", " ", "b]", "#a", "Z9"])
            .prop_map(String::from),
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        5 => "[ab]{1,2}",
        2 => Just("*".to_string()),
        1 => Just("?".to_string()),
        1 => Just("**".to_string()),
        1 => prop::sample::select(vec![
            "[ab]", "[!a]", "[^b]", "[a-c]", "[[:alpha:]]", "[]a]", "[a", "\\*", "\\a", "[a\\]]",
            "[z-a]", "[[:upper:][:digit:]]", "a\\",
        ]).prop_map(String::from),
    ];
    let word = prop::collection::vec(piece, 1..3).prop_map(|pieces| pieces.concat());
    let words = prop::collection::vec(word, 1..4).prop_map(|words| words.join("/"));
    let ends = prop::sample::select(vec!["", "", "", "/", "/***", "/**", "/*"]);
    (prop::bool::weighted(0.3), words, ends).prop_map(|(anchored, words, end)| {
        format!("{}{words}{end}", if anchored { "/" } else { "" })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn we_decide_as_rsync_does(
        rules in prop::collection::vec((any::<bool>(), pattern()), 1..6),
        files in prop::collection::vec(prop::collection::vec(component(), 1..5), 1..40),
    ) {
        let mut parsed = Vec::new();
        for (include, pattern) in &rules {
            parse_rule(pattern.as_bytes(), *include, &mut parsed);
        }
        check(&parsed, &files);
    }
}

#[test]
fn a_slash_in_a_class_counts_as_a_component_and_matches_nothing() {
    let files: Vec<Vec<String>> =
        ["ab", "a", "b"].iter().map(|name| vec![(*name).into()]).collect();
    for pattern in ["[a/b]?", "[a/b]", "/[a/b]?", "**[a/b]"] {
        check(&[Rule::Exclude(pattern.into())], &files);
    }
}

#[test]
fn an_exact_rule_keeps_out_its_path_and_nothing_else() {
    for name in ["a*b", "a[b]", "a\\b", "a?", "a\\*b", "plain"] {
        let files: Vec<Vec<String>> = [name, "axb", "ab", "a", "other"]
            .iter()
            .flat_map(|name| [vec![(*name).to_string()], vec!["d".into(), (*name).to_string()]])
            .collect();
        let path = RelPath::parse(OsStr::new(name).as_bytes()).unwrap();
        check(&[Rule::exclude_exactly(&path)], &files);
    }
}
