//! Renames, which send nothing, and of which nothing is taken on trust.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::churn::{Random, number};
use crate::everyday::Six;
use crate::support::servers::{Proxy, Rsyncd, rsyncd_ron};
use crate::support::tree::assert_same;
use crate::support::{Daemon, run};

/// Twenty files, two megabytes.
pub fn fill(directory: &Path, seed: u64) {
    let mut random = Random::new(seed);
    fs::create_dir_all(directory.join("inner")).unwrap();
    for file in 0..20 {
        let bytes: Vec<u8> = (0..100_000).map(|_| random.below(256) as u8).collect();
        let inside = if file % 2 == 0 { directory.to_path_buf() } else { directory.join("inner") };
        fs::write(inside.join(format!("f{file}")), bytes).unwrap();
    }
    symlink("inner/f1", directory.join("link")).unwrap();
}

pub fn bytes_sent(daemon: &Daemon) -> Vec<u64> {
    let status = daemon.status();
    let mirrors = status["mirrors"].as_array().unwrap();
    mirrors.iter().map(|mirror| mirror["bytes_sent"].as_u64().unwrap()).collect()
}

/// No two names of what was renamed are one file.
fn assert_parted(target: &Path) {
    for entry in walk(target) {
        let metadata = fs::symlink_metadata(&entry).unwrap();
        assert!(!metadata.is_file() || metadata.nlink() == 1, "{} is shared", entry.display());
    }
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            let inside = if path.is_dir() && !path.is_symlink() { walk(&path) } else { Vec::new() };
            inside.into_iter().chain([path])
        })
        .collect()
}

/// What a step does is one batch, however slow this machine is: nothing is sealed before the flush.
const ONE_BATCH: &str = "settle: \"30s\",";

/// Each mirror gets there with so few bytes.
fn step(six: &Six, context: &str, bytes_max: u64, work: impl FnOnce(&Path)) {
    let before = bytes_sent(&six.daemon);
    work(&six.daemon.source());
    six.check(context);
    six.targets.iter().for_each(|target| assert_parted(target));
    for (before, after) in before.iter().zip(bytes_sent(&six.daemon)) {
        assert!(after - before <= bytes_max, "{context}: {} bytes sent", after - before);
    }
}

#[test]
fn hard_case_10_what_is_renamed_is_not_sent() {
    let six = Six::start_with(ONE_BATCH, |source| {
        fill(&source.join("a"), 1);
        fill(&source.join("p/q/r"), 2);
        fs::create_dir(source.join("else")).unwrap();
    });
    let to = |root: &Path, from: &str, to: &str| {
        fs::rename(root.join(from), root.join(to)).unwrap();
    };
    step(&six, "a directory", 20_000, |root| to(root, "a", "b"));
    step(&six, "into another, and back", 20_000, |root| to(root, "b", "p/b"));
    step(&six, "one around it", 40_000, |root| to(root, "p", "q"));
    step(&six, "case", 20_000, |root| to(root, "q/b", "q/B"));
    step(&six, "a chain in one go", 20_000, |root| {
        to(root, "q/B", "t");
        to(root, "t", "u");
        to(root, "u", "a");
    });
    step(&six, "with changes below it", 150_000, |root| {
        to(root, "a", "b");
        fs::write(root.join("b/f0"), vec![7; 100_000]).unwrap();
        fs::remove_file(root.join("b/f2")).unwrap();
        fs::set_permissions(root.join("b/f4"), fs::Permissions::from_mode(0o600)).unwrap();
    });
    step(&six, "over what was removed", 40_000, |root| {
        fs::remove_dir_all(root.join("q/q/r/inner")).unwrap();
        to(root, "b/inner", "q/q/r/inner");
    });
    step(&six, "a name with a pattern in it is sent", 4_000_000, |root| to(root, "b", "b*"));
}

#[test]
fn a_swap_and_a_name_that_comes_back_end_equal() {
    let six = Six::start(|source| {
        fill(&source.join("a"), 1);
        fill(&source.join("b"), 2);
    });
    let all = 10_000_000;
    step(&six, "a swap", all, |root| {
        fs::rename(root.join("a"), root.join("t")).unwrap();
        fs::rename(root.join("b"), root.join("a")).unwrap();
        fs::rename(root.join("t"), root.join("b")).unwrap();
    });
    step(&six, "the old name is taken at once", all, |root| {
        fs::rename(root.join("a"), root.join("c")).unwrap();
        // Equal in everything but their modes.
        run("cp", &["-a", "c", "a"], root);
        run("chmod", &["-R", "go-r", "a"], root);
    });
    step(&six, "attributes of one name", all, |root| run("chmod", &["-R", "o+x", "a"], root));
}

#[test]
fn large_files_are_renamed_too() {
    let six = Six::start_with(ONE_BATCH, |source| {
        fill(&source.join("x"), 1);
        fs::create_dir(source.join("y")).unwrap();
        // Of files with one size and one second rsync may take the wrong one.
        for (name, size) in [("big", 1_000_000), ("bigger", 2_000_000)] {
            let mut random = Random::new(size);
            let bytes: Vec<u8> = (0..size).map(|_| random.below(256) as u8).collect();
            fs::write(source.join("x").join(name), bytes).unwrap();
        }
    });
    step(&six, "to another directory", 10_000, |root| {
        fs::rename(root.join("x/big"), root.join("y/big")).unwrap();
    });
    // Local mirrors copy: their rsync takes no blocks from elsewhere, and nothing crosses a wire.
    let before = bytes_sent(&six.daemon);
    let root = six.daemon.source();
    fs::rename(root.join("x/bigger"), root.join("x/bigger.1")).unwrap();
    fs::rename(root.join("y/big"), root.join("x/big.old")).unwrap();
    six.check("under another name");
    for (index, (before, after)) in before.iter().zip(bytes_sent(&six.daemon)).enumerate() {
        let is_local = six.daemon.status()["mirrors"][index]["host"] == "local";
        assert!(is_local || after - before < 100_000, "{} bytes sent", after - before);
    }
}

#[test]
fn hard_case_10_a_link_at_the_new_name_on_the_mirror_is_replaced_and_not_followed() {
    let six = Six::start(|source| fill(&source.join("a"), 1));
    let outside = six.daemon.path("outside");
    fs::create_dir(&outside).unwrap();
    for target in &six.targets {
        symlink(&outside, target.join("b")).unwrap();
    }
    fs::rename(six.daemon.source().join("a"), six.daemon.source().join("b")).unwrap();
    six.check("a link was in the way");
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn hard_case_16_completed_renames_do_not_count_and_what_is_deleted_beside_them_does() {
    let server = Rsyncd::start();
    let daemon = Daemon::new()
        .root_options("max_delete: 5,")
        .mirror("web", &server.ron(), "m/site", "")
        .local("disk");
    fill(&daemon.source().join("a"), 1);
    fill(&daemon.source().join("junk"), 2);
    let daemon = daemon.start();
    daemon.flush("");
    fs::rename(daemon.source().join("a"), daemon.source().join("b")).unwrap();
    daemon.flush("");
    for target in [server.path("site"), daemon.path("disk")] {
        assert!(!target.join("a").exists());
        assert_same(&daemon.source(), &target, "renamed");
    }
    fs::rename(daemon.source().join("b/inner"), daemon.source().join("inner")).unwrap();
    fs::remove_dir_all(daemon.source().join("junk")).unwrap();
    daemon.flush_waits_in_vain();
    for (host, target) in [("web", server.path("site")), ("disk", daemon.path("disk"))] {
        daemon
            .wait_for_mirror(host, "held deletions", |it| it["held_deletions"].as_u64() > Some(0));
        assert_eq!(fs::read_dir(target.join("junk")).unwrap().count(), 12);
    }
}

#[test]
fn hard_case_10_what_the_rules_keep_out_under_the_new_name_does_not_come_along() {
    let daemon = Daemon::new()
        .root_options("filters: [Exclude(\"/b/inner\"), Exclude(\"/a/f0\"), Exclude(\"f2\")],")
        .local("disk");
    fill(&daemon.source().join("a"), 1);
    let daemon = daemon.start();
    daemon.flush("");
    let target = daemon.path("disk");
    assert!(target.join("a/inner").exists() && !target.join("a/f0").exists());
    fs::rename(daemon.source().join("a"), daemon.source().join("b")).unwrap();
    daemon.flush("");
    assert!(!target.join("a").exists() && !target.join("b/inner").exists());
    assert!(target.join("b/f0").exists() && !target.join("b/f2").exists());
    assert_parted(&target);
}

#[test]
fn hard_case_10_renames_are_composed_for_a_mirror_that_was_away() {
    let mut server = Rsyncd::start();
    let daemon = Daemon::new().mirror("web", &server.ron(), "m/site", "");
    fill(&daemon.source().join("a"), 1);
    let daemon = daemon.start();
    daemon.flush("");
    let before = bytes_sent(&daemon)[0];
    server.stop();
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "d")] {
        let head = daemon.mirror_status("web")["head"].as_u64();
        fs::rename(daemon.source().join(from), daemon.source().join(to)).unwrap();
        daemon.wait_for_mirror("web", "the next epoch", |mirror| mirror["head"].as_u64() > head);
    }
    server.start_again();
    daemon.flush("");
    assert_same(&daemon.source(), &server.path("site"), "after it was away");
    assert_parted(&server.path("site"));
    let sent = bytes_sent(&daemon)[0] - before;
    assert!(sent < 20_000, "{sent} bytes sent\n{}", daemon.log_tail());
}

#[test]
fn random_renames_and_broken_pushes_end_in_equality() {
    let seed = number("SEED").unwrap_or(20_261_121);
    println!("SEED={seed}");
    let server = Rsyncd::start();
    let proxy = Proxy::start(server.port);
    let daemon = Daemon::new().mirror("web", &rsyncd_ron(proxy.port), "m/site", "").local("disk");
    let source = daemon.source();
    for name in ["a", "b", "c"] {
        fill(&source.join(name), name.len() as u64);
    }
    let daemon = daemon.start();
    daemon.flush("");
    let mut random = Random::new(seed);
    let names = ["a", "b", "c", "d", "a/inner", "b/inner", "e/f", "e"];
    let end = Instant::now() + Duration::from_secs(number("SECONDS").unwrap_or(8));
    while Instant::now() < end {
        let (one, other) =
            (source.join(names[random.below(8)]), source.join(names[random.below(8)]));
        // Whether it succeeds is the file system's matter.
        let _ = match random.below(10) {
            0..6 => fs::rename(&one, &other),
            6 => fs::create_dir_all(&one),
            7 if random.below(8) == 0 => fs::remove_dir_all(&one),
            8 => fs::set_permissions(one.join("f0"), fs::Permissions::from_mode(0o640)),
            _ => rewrite_unseen(&one.join("f0"), random.below(256) as u8),
        };
        if random.below(4) == 0 {
            proxy.cut();
        }
        proxy.slow_down([0, 0, 1, 5][random.below(4)]);
        std::thread::sleep(Duration::from_millis([0, 1, 20, 150][random.below(4)]));
    }
    proxy.slow_down(0);
    daemon.flush("");
    for target in [server.path("site"), daemon.path("disk")] {
        assert_same(&source, &target, &format!("SEED={seed}"));
        assert_parted(&target);
    }
}

/// Other content of the same size and time, as tar and `cp -p` make it.
fn rewrite_unseen(file: &Path, byte: u8) -> std::io::Result<()> {
    let modified = fs::metadata(file)?.modified()?;
    let open = fs::File::options().write(true).open(file)?;
    std::os::unix::fs::FileExt::write_all_at(&open, &[byte; 64], 0)?;
    open.set_modified(modified)
}
