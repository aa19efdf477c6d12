//! All everyday operations, at once on three daemons, two ssh logins and a directory.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::servers::{Rsyncd, Sshd};
use crate::support::tree::assert_same;
use crate::support::{Daemon, is_root, run};

/// A daemon with six mirrors, and where they are.
pub(crate) struct Six {
    pub daemon: Daemon,
    pub targets: Vec<PathBuf>,
    _servers: (Vec<Rsyncd>, Sshd),
}

impl Six {
    pub(crate) fn start(prepare: impl FnOnce(&Path)) -> Self {
        Self::start_with("", prepare)
    }

    /// With further fields of the root.
    pub(crate) fn start_with(options: &str, prepare: impl FnOnce(&Path)) -> Self {
        let rsyncds: Vec<Rsyncd> = (0..3).map(|_| Rsyncd::start()).collect();
        let sshd = Sshd::start();
        let mut daemon = Daemon::new().root_options("may_be_empty: true,").root_options(options);
        let mut targets = Vec::new();
        for (index, server) in rsyncds.iter().enumerate() {
            daemon = daemon.mirror(&format!("web{index}"), &server.ron(), "m/site", "");
            targets.push(server.path("site"));
        }
        for index in 0..2 {
            let target = daemon.path(&format!("ssh{index}"));
            let path = target.display().to_string();
            daemon = daemon.mirror(&format!("ssh{index}"), &sshd.ron(), &path, "");
            targets.push(target);
        }
        daemon = daemon.local("local");
        targets.push(daemon.path("local"));
        prepare(&daemon.source());
        let daemon = daemon.start();
        let six = Self { daemon, targets, _servers: (rsyncds, sshd) };
        six.check("at first contact");
        six
    }

    /// Waits until everything is there, and compares.
    pub(crate) fn check(&self, context: &str) {
        self.daemon.flush("");
        for target in &self.targets {
            assert_same(&self.daemon.source(), target, context);
        }
    }

    fn step(&self, context: &str, work: impl FnOnce(&Path)) {
        work(&self.daemon.source());
        self.check(context);
    }
}

fn write(path: PathBuf, content: &str) {
    fs::write(path, content).unwrap();
}

fn fill(directory: &Path) {
    fs::create_dir_all(directory.join("one/two")).unwrap();
    for index in 0..30 {
        write(directory.join(format!("f{index}")), &format!("{index}").repeat(index * 10));
        write(directory.join(format!("one/two/g{index}")), "g");
    }
    symlink("one/two", directory.join("link")).unwrap();
}

#[test]
fn every_operation_reaches_all_kinds_of_mirrors() {
    let outside = tempfile::tempdir().unwrap();
    fill(outside.path());
    let six = Six::start(|source| fill(&source.join("old")));

    six.step("create", |s| write(s.join("a"), "first"));
    six.step("append", |s| {
        let mut file = File::options().append(true).open(s.join("a")).unwrap();
        file.write_all(b" second").unwrap();
    });
    six.step("truncate", |s| {
        File::options().write(true).open(s.join("a")).unwrap().set_len(2).unwrap();
    });
    six.step("replace by rename", |s| {
        write(s.join(".a.tmp"), "replaced");
        fs::rename(s.join(".a.tmp"), s.join("a")).unwrap();
    });
    six.step("chmod", |s| {
        fs::set_permissions(s.join("a"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(s.join("old/one"), fs::Permissions::from_mode(0o750)).unwrap();
    });
    if is_root() {
        six.step("chown", |s| {
            std::os::unix::fs::chown(s.join("a"), Some(1), Some(2)).unwrap();
            std::os::unix::fs::chown(s.join("old"), Some(3), Some(4)).unwrap();
        });
    }
    six.step("touch", |s| {
        run("touch", &["-d", "2001-02-03 04:05:06.789012345", "a", "old/one/two"], s);
    });
    six.step("symlink", |s| {
        symlink("a", s.join("link")).unwrap();
        symlink("nowhere/at all", s.join("dangling")).unwrap();
        if is_root() {
            symlink("/absolute/target", s.join("absolute")).unwrap();
        }
    });
    six.step("symlink replaced", |s| {
        fs::remove_file(s.join("link")).unwrap();
        symlink("old", s.join("link")).unwrap();
    });
    six.step("hard link", |s| fs::hard_link(s.join("a"), s.join("a2")).unwrap());
    six.step("write through a hard link", |s| {
        let mut file = File::options().write(true).open(s.join("a2")).unwrap();
        file.write_all(b"through the other name").unwrap();
    });
    six.step("fifo", |s| {
        mknodat(CWD, s.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    });
    six.step("mkdir -p of ten levels, with files written at once", |s| {
        let mut directory = s.join("deep");
        for level in 0..10 {
            directory = directory.join(format!("level{level}"));
            fs::create_dir_all(&directory).unwrap();
            write(directory.join("file"), "at once");
        }
    });
    six.step("cp -a of a tree", |s| {
        run("cp", &["-a", "old", "copy"], s);
        run("cp", &["-a", &outside.path().display().to_string(), "from-outside"], s);
    });
    six.step("rename a file", |s| fs::rename(s.join("a2"), s.join("old/a3")).unwrap());
    six.step("rename a file over another", |s| {
        fs::rename(s.join("copy/f3"), s.join("copy/f4")).unwrap();
    });
    six.step("rename a directory", |s| fs::rename(s.join("copy"), s.join("renamed")).unwrap());
    six.step("write below a renamed directory", |s| write(s.join("renamed/one/two/new"), "n"));
    six.step("move a directory into another", |s| {
        fs::rename(s.join("renamed"), s.join("deep/level0/renamed")).unwrap();
    });
    six.step("swap two directories", |s| {
        fs::rename(s.join("old"), s.join("t")).unwrap();
        fs::rename(s.join("from-outside"), s.join("old")).unwrap();
        fs::rename(s.join("t"), s.join("from-outside")).unwrap();
    });
    six.step("move a directory out", |s| {
        fs::rename(s.join("deep/level0/renamed"), outside.path().join("gone")).unwrap();
    });
    fs::write(outside.path().join("gone/one/two/later"), "nobody's business").unwrap();
    six.step("move a directory in", |s| {
        fs::rename(outside.path().join("gone"), s.join("back")).unwrap();
    });
    six.step("write below what was moved in", |s| write(s.join("back/one/two/again"), "x"));
    six.step("directory becomes file", |s| {
        fs::remove_dir_all(s.join("back")).unwrap();
        write(s.join("back"), "a file now");
    });
    six.step("file becomes directory", |s| {
        fs::remove_file(s.join("back")).unwrap();
        fill(&s.join("back"));
    });
    six.step("directory becomes link", |s| {
        fs::remove_dir_all(s.join("back")).unwrap();
        symlink(outside.path(), s.join("back")).unwrap();
        fs::remove_file(s.join("back")).unwrap();
        symlink("old", s.join("back")).unwrap();
    });
    six.step("rm -rf", |s| {
        for directory in ["old", "deep", "from-outside"] {
            fs::remove_dir_all(s.join(directory)).unwrap();
        }
    });
    six.step("rm -rf of everything", |s| run("sh", &["-c", "rm -rf ./* ./.[!.]*"], s));
}

#[test]
fn git_works_in_the_root() {
    let repository = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str], directory: &Path| {
        let identity = [
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.org",
            "-c",
            "init.defaultBranch=main",
        ];
        run("git", &[&identity[..], arguments].concat(), directory);
    };
    let r = repository.path();
    git(&["init", "-q"], r);
    for branch in ["one", "two"] {
        git(&["checkout", "-q", "--orphan", &format!("branch-{branch}")], r);
        for index in 0..100 {
            fs::create_dir_all(r.join(format!("{branch}/d{}", index % 7))).unwrap();
            write(
                r.join(format!("{branch}/d{}/f{index}", index % 7)),
                &format!("{branch} {index}"),
            );
            write(r.join(format!("shared{index}")), branch);
        }
        git(&["add", "-A"], r);
        git(&["commit", "-q", "-m", branch], r);
    }
    let six = Six::start(|_| ());
    let from = r.display().to_string();
    six.step("git clone", |s| git(&["clone", "-q", &from, "clone"], s));
    six.step("git checkout", |s| git(&["checkout", "-q", "branch-one"], &s.join("clone")));
    six.step("git checkout back", |s| git(&["checkout", "-q", "branch-two"], &s.join("clone")));
}

#[test]
fn names_of_any_bytes_reach_all_kinds_of_mirrors() {
    let long = "n".repeat(255);
    let names: Vec<Vec<u8>> = [
        "new\nline",
        "\r\n",
        "-rf",
        "--delete",
        "#comment",
        ";comment",
        "*",
        "?",
        "[a-z]",
        "a*b?c[d]",
        r"back\slash",
        r"\*",
        "'single'",
        "\"double\"",
        "$(touch x)",
        "`id`",
        "$HOME",
        "a::b",
        "host:path",
        " leading",
        "trailing ",
        "~",
        "&",
        "|",
        "!",
        "+ x",
        "- x",
        "é ü 漢字",
        "\x1b[31m",
        "\x7f",
        ".",
        "..x",
        &long,
    ]
    .iter()
    .filter(|name| **name != ".")
    .map(|name| name.as_bytes().to_vec())
    .chain([b"\xff\xfe".to_vec(), b"latin\xe9".to_vec(), b"\x01\x02".to_vec()])
    .collect();
    let path = |base: &Path, name: &[u8]| base.join(std::ffi::OsStr::from_bytes(name));
    let six = Six::start(|source| {
        for name in &names {
            fs::write(path(source, name), "before").unwrap();
        }
    });
    six.step("written, and as directories", |s| {
        fs::create_dir(s.join("dirs")).unwrap();
        for name in &names {
            fs::write(path(s, name), "after").unwrap();
            let directory = path(&s.join("dirs"), name);
            fs::create_dir(&directory).unwrap();
            fs::write(path(&directory, name), "inside").unwrap();
        }
    });
    six.step("touched and linked", |s| {
        for (index, name) in names.iter().enumerate() {
            let mode = if index % 2 == 0 { 0o600 } else { 0o644 };
            fs::set_permissions(path(s, name), fs::Permissions::from_mode(mode)).unwrap();
            let target = std::ffi::OsStr::from_bytes(name);
            symlink(target, s.join(format!("link{index}"))).unwrap();
        }
    });
    six.step("renamed", |s| {
        for (index, name) in names.iter().enumerate() {
            fs::rename(path(s, name), s.join(format!("plain{index}"))).unwrap();
            fs::rename(s.join(format!("plain{index}")), path(s, name)).unwrap();
            fs::rename(path(&s.join("dirs"), name), s.join(format!("dir{index}"))).unwrap();
        }
    });
    six.step("deleted", |s| {
        for (index, name) in names.iter().enumerate() {
            fs::remove_file(path(s, name)).unwrap();
            fs::remove_dir_all(s.join(format!("dir{index}"))).unwrap();
        }
    });
}
