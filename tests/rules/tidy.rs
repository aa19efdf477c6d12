//! The layering: who may import whom, what the rules must not know, how long a file may be. The floor below
//! everything is a crate boundary: `mirrorball-core` does not depend on what it must not know.

use std::fs;
use std::path::{Path, PathBuf};

/// A file is one type; past this it is two.
const LINES_MAX: usize = 650;

/// Each room of the binary package, with the rooms below it that it may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("cli", &["control", "actors", "config", "state", "watch", "transport"]),
    ("control", &["actors", "config", "state", "watch", "transport"]),
    ("actors", &["config", "state", "watch", "transport"]),
    ("config", &["watch", "transport"]),
    ("state", &[]),
    ("watch", &[]),
    // It looks at the source to name a list of files shorter.
    ("transport", &["watch"]),
];

/// Crates that core must not depend on.
const FORBIDDEN_CRATES: &[&str] = &["tokio", "actix", "rustix", "slog", "nix", "hyper"];

/// What core must not know: I/O, clocks, threads, hash maps.
const FORBIDDEN_IN_CORE: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::process",
    "std::thread",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "rand::",
];

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn source() -> PathBuf {
    repository().join("src")
}

fn core() -> PathBuf {
    repository().join("crates/core/src")
}

/// The lines that are the program's, without its tests and comments.
fn program_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

#[test]
fn a_room_imports_only_from_rooms_below_it() {
    for (room, below) in ROOMS {
        for file in files(&source().join(room)) {
            let text = fs::read_to_string(&file).unwrap();
            for (number, line) in program_lines(&text) {
                for piece in line.split("crate::").skip(1) {
                    let end = piece.find(|c: char| !c.is_alphanumeric() && c != '_');
                    let imported = &piece[..end.unwrap_or(piece.len())];
                    let allowed = imported == *room || below.contains(&imported);
                    assert!(allowed, "{}:{number}: {room} imports {imported}", file.display());
                }
            }
        }
    }
}

#[test]
fn core_knows_no_io_no_clock_and_no_actors() {
    for file in files(&core()) {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in program_lines(&text) {
            for word in FORBIDDEN_IN_CORE {
                assert!(!line.contains(word), "{}:{number}: {word}", file.display());
            }
        }
    }
    let manifest = fs::read_to_string(repository().join("crates/core/Cargo.toml")).unwrap();
    for name in FORBIDDEN_CRATES {
        let is_named = manifest.lines().any(|line| line.starts_with(name));
        assert!(!is_named, "mirrorball-core depends on {name}");
    }
}

#[test]
fn rsyncs_options_stand_in_transport_alone() {
    for file in files(&source()).into_iter().chain(files(&core())) {
        // The command line and its selectors have options of their own.
        let own = ["transport", "cli", "control"];
        if own.iter().any(|room| file.starts_with(source().join(room))) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in program_lines(&text) {
            assert!(!line.contains("\"--"), "{}:{number}: an option of rsync", file.display());
        }
    }
}

#[test]
fn files_stay_short_and_nothing_is_left_undone() {
    for file in files(&source()).into_iter().chain(files(&core())) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", file.display());
        for word in ["FIXME", "TODO", "todo!(", "unimplemented!(", ".unwrap()"] {
            let program: String = program_lines(&text).map(|(_, line)| line).collect();
            let is_test = file.file_name().is_some_and(|name| name == "tests.rs");
            assert!(is_test || !program.contains(word), "{}: {word}", file.display());
        }
    }
}

#[test]
fn no_test_is_ignored() {
    let tests = files(&repository().join("tests")).into_iter();
    for file in tests.chain(files(&source())).chain(files(&core())) {
        let text = fs::read_to_string(&file).unwrap();
        let mark = ["#[", "ignore"].concat();
        assert!(!text.contains(&mark), "{}", file.display());
    }
}
