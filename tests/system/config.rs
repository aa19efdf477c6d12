//! Every example configuration is good, and every bad one is told what is wrong with it, all at once.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mirrorball::config;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

/// What the bad examples speak of.
fn surroundings() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    fs::create_dir_all(path.join("source/sub")).unwrap();
    fs::create_dir_all(path.join("other/b")).unwrap();
    symlink("source", path.join("link")).unwrap();
    for (name, content) in
        [("file", ""), ("rules", "*.o\n[open\n# comment\n"), ("open-secret", "s")]
    {
        fs::write(path.join(name), content).unwrap();
    }
    fs::set_permissions(path.join("open-secret"), fs::Permissions::from_mode(0o644)).unwrap();
    dir
}

#[test]
fn each_bad_example_is_told_everything_that_is_wrong_with_it() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut count = 0;
    for entry in fs::read_dir(repository().join("tests/system/configurations/bad")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "ron") {
            continue;
        }
        count += 1;
        let dir = surroundings();
        let here = dir.path().canonicalize().unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap().replace("@DIR@", &here);
        let Err(faults) = config::load_text(Path::new("bad.ron"), &text) else {
            panic!("{} is good", path.display())
        };
        let told = faults.to_string().replace(&here, "@DIR@");
        let expected = path.with_extension("expected");
        if update {
            fs::write(&expected, &told).unwrap();
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(told, wanted, "{}: UPDATE=1 writes it anew", path.display());
    }
    assert!(count >= 12);
}

#[test]
fn each_shipped_example_is_good_but_for_the_paths_of_its_machine() {
    for name in ["minimal", "web-farm", "backup"] {
        let dir = surroundings();
        let source = dir.path().join("source").display().to_string();
        let path = repository().join(format!("config/{name}.ron"));
        let text = fs::read_to_string(&path).unwrap();
        let text = ["\"/var/www/site\"", "\"/home\""]
            .iter()
            .fold(text, |text, place| text.replace(place, &format!("{source:?}")));
        let loaded = config::load_text(&path, &text);
        let (plan, report) = loaded.unwrap_or_else(|faults| panic!("{faults}"));
        assert!(!plan.roots.is_empty() && report.warnings().is_empty(), "{name}");
    }
}
