//! Every example configuration is good, and every bad one is told what is wrong with it, all at once.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mirrorball::config;
use mirrorball_core::fleet::reload::difference;

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

#[test]
fn what_may_be_deleted_is_adjusted_without_watching_anew() {
    let dir = surroundings();
    let source = dir.path().join("source").display().to_string();
    let plan = |options: &str| {
        let text = format!(
            "Config(hosts: {{\"disk\": Local}}, roots: {{\"site\": Root(source: {source:?}, {options} \
             mirrors: [(host: \"disk\", path: \"/mirror\")])}})"
        );
        config::load_text(Path::new("good.ron"), &text).unwrap_or_else(|it| panic!("{it}")).0
    };
    let before = plan("");
    for options in [
        "max_delete: 5,",
        "max_delete_window: \"10m\",",
        "may_be_empty: true,",
        "free_to_delete: [\"/cache/\"],",
    ] {
        let changes = difference(&before, &plan(options));
        assert_eq!(changes.adjusted, ["root site"], "{options}");
        assert!(
            changes.roots.changed.is_empty() && changes.mirrors.changed.is_empty(),
            "{options}"
        );
    }
    let plan = plan("free_to_delete: [\"/cache/\", \"a/tmp\"],");
    let root = plan.roots.values().next().unwrap();
    assert_eq!(root.free_to_delete, ["cache".into(), "a/tmp".into()]);
    assert_eq!(root.max_delete_window.as_secs(), 3600);
}
