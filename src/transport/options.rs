//! The configured rsync options as arguments, and which ones would defeat the design.

use mirrorball_core::data::rsync_options::RsyncOptions;

/// Long options for a command line.
pub fn option_arguments(options: &RsyncOptions) -> Vec<String> {
    let archive = options.archive.unwrap_or(true);
    let as_archive = |own: Option<bool>| own.unwrap_or(archive);
    let flags = [
        ("--links", as_archive(options.links)),
        ("--perms", as_archive(options.perms)),
        ("--times", as_archive(options.times)),
        ("--group", as_archive(options.group)),
        ("--owner", as_archive(options.owner)),
        ("--devices", as_archive(options.devices)),
        ("--specials", as_archive(options.specials)),
        ("--executability", options.executability == Some(true)),
        ("--acls", options.acls == Some(true)),
        ("--xattrs", options.xattrs == Some(true)),
        ("--hard-links", options.hard_links == Some(true)),
        ("--numeric-ids", options.numeric_ids == Some(true)),
        ("--compress", options.compress == Some(true)),
        ("--checksum", options.checksum == Some(true)),
        ("--whole-file", options.whole_file == Some(true)),
        ("--no-whole-file", options.whole_file == Some(false)),
        ("--sparse", options.sparse == Some(true)),
        ("--preallocate", options.preallocate == Some(true)),
        ("--fsync", options.fsync == Some(true)),
        ("--delay-updates", options.delay_updates == Some(true)),
        ("--fake-super", options.fake_super == Some(true)),
        ("--omit-dir-times", options.omit_dir_times == Some(true)),
        ("--omit-link-times", options.omit_link_times == Some(true)),
    ];
    let level = options.compress_level.map(|level| level.to_string());
    let values = [
        ("--compress-choice", &options.compress_choice),
        ("--compress-level", &level),
        ("--partial-dir", &options.partial_dir),
        ("--temp-dir", &options.temp_dir),
        ("--chmod", &options.chmod),
        ("--chown", &options.chown),
        ("--usermap", &options.usermap),
        ("--groupmap", &options.groupmap),
        ("--rsync-path", &options.rsync_path),
    ];
    let flags = flags.into_iter().filter(|(_, on)| *on).map(|(flag, _)| flag.to_string());
    let values = values
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")));
    flags.chain(values).chain(options.extra.iter().cloned()).collect()
}

const OURS: &str = "mirrorball sets it itself";
const FILTERS: &str = "write it as the root's `filters`, so that watching knows it too";
const HOSTS: &str = "write it as a field of the host";
const LEAVES_OUT: &str = "it leaves files out, and the mirror would be called in sync without them";
const DELETES: &str = "what is deleted is decided by `delete` and the rules for safety";
const FOLLOWS: &str = "links are mirrored, never followed";
const PARTIAL: &str = "a file would stand under its own name half written";

/// Long options, without the dashes, that change how files are sent or what is kept of them, and nothing
/// else. Everything else is refused, with abbreviations and what rsync has yet to invent.
const ALLOWED: &[&str] = &[
    "acls",
    "address",
    "atimes",
    "block-size",
    "blocking-io",
    "checksum",
    "checksum-choice",
    "checksum-seed",
    "chmod",
    "chown",
    "compress",
    "compress-choice",
    "compress-level",
    "crtimes",
    "delay-updates",
    "devices",
    "executability",
    "fake-super",
    "fsync",
    "group",
    "groupmap",
    "hard-links",
    "ipv4",
    "ipv6",
    "links",
    "max-alloc",
    "numeric-ids",
    "omit-dir-times",
    "omit-link-times",
    "open-noatime",
    "owner",
    "perms",
    "preallocate",
    "protocol",
    "secluded-args",
    "skip-compress",
    "sparse",
    "specials",
    "super",
    "temp-dir",
    "times",
    "usermap",
    "whole-file",
    "xattrs",
    "zc",
    "zl",
];

/// Short options that are allowed.
const ALLOWED_SHORT: &str = "46ADEHJNOSUWXcglopstz";

/// Why options are refused that somebody is likely to try: without the dashes.
const REFUSED: &[(&str, &str)] = &[
    ("append", PARTIAL),
    ("append-verify", PARTIAL),
    ("archive", "write it as a field of `rsync`"),
    ("backup", "the old files would stand in the mirror and be deleted by the next walk"),
    ("backup-dir", "the old files would stand in the mirror and be deleted by the next walk"),
    ("bwlimit", HOSTS),
    ("compare-dest", LEAVES_OUT),
    ("config", OURS),
    ("contimeout", HOSTS),
    ("copy-dest", OURS),
    ("copy-devices", "devices would be read like files, without end"),
    ("copy-dirlinks", FOLLOWS),
    ("copy-links", FOLLOWS),
    ("copy-unsafe-links", FOLLOWS),
    ("cvs-exclude", FILTERS),
    ("daemon", OURS),
    ("del", DELETES),
    ("delete", DELETES),
    ("delete-after", DELETES),
    ("delete-before", DELETES),
    ("delete-delay", DELETES),
    ("delete-during", DELETES),
    ("delete-excluded", "it deletes what the rules protect"),
    ("delete-missing-args", DELETES),
    ("dirs", OURS),
    ("dry-run", "nothing would be pushed, and everything called done"),
    ("exclude", FILTERS),
    ("exclude-from", FILTERS),
    ("existing", LEAVES_OUT),
    ("files-from", OURS),
    ("filter", FILTERS),
    ("force", "it deletes what the rules protect"),
    ("from0", OURS),
    ("help", OURS),
    ("ignore-errors", "it deletes on the mirror what could not be read here"),
    ("ignore-existing", LEAVES_OUT),
    ("ignore-missing-args", OURS),
    ("ignore-non-existing", LEAVES_OUT),
    ("ignore-times", OURS),
    ("include", FILTERS),
    ("include-from", FILTERS),
    ("info", OURS),
    ("inplace", PARTIAL),
    ("insecure-links", "it undoes rsync's own protection"),
    ("itemize-changes", OURS),
    ("keep-dirlinks", FOLLOWS),
    ("link-dest", OURS),
    ("list-only", "nothing would be pushed, and everything called done"),
    ("log-file", "mirrorball logs, and the file might lie in a mirror's source"),
    ("log-format", OURS),
    ("max-delete", DELETES),
    ("max-size", LEAVES_OUT),
    ("min-size", LEAVES_OUT),
    ("mkpath", "it hides that the mirror's disk is not mounted"),
    ("modify-window", OURS),
    ("motd", OURS),
    ("munge-links", "the mirror's links would not be equal"),
    ("old-dirs", OURS),
    ("one-file-system", LEAVES_OUT),
    ("only-write-batch", "nothing would be pushed, and everything called done"),
    ("out-format", OURS),
    ("partial", PARTIAL),
    ("partial-dir", "write it as a field of `rsync`"),
    ("password-file", HOSTS),
    ("port", HOSTS),
    ("progress", OURS),
    ("prune-empty-dirs", LEAVES_OUT),
    ("quiet", OURS),
    ("read-batch", OURS),
    ("recursive", OURS),
    ("relative", OURS),
    ("remote-option", "the other side would be told what is refused here"),
    ("remove-sent-files", "it deletes the source"),
    ("remove-source-files", "it deletes the source"),
    ("rsh", HOSTS),
    ("rsync-path", "write it as a field of `rsync`"),
    ("safe-links", LEAVES_OUT),
    ("sender", OURS),
    ("server", OURS),
    ("size-only", LEAVES_OUT),
    ("sockopts", OURS),
    ("stats", OURS),
    ("stop-after", LEAVES_OUT),
    ("stop-at", LEAVES_OUT),
    ("time-limit", LEAVES_OUT),
    ("timeout", HOSTS),
    ("update", LEAVES_OUT),
    ("verbose", OURS),
    ("version", OURS),
    ("write-batch", OURS),
    ("write-devices", "it writes into devices of the host"),
];

/// Short names of long options in [`REFUSED`].
const REFUSED_SHORT: &[(char, &str)] = &[
    ('C', "cvs-exclude"),
    ('F', "filter"),
    ('K', "keep-dirlinks"),
    ('L', "copy-links"),
    ('P', "partial"),
    ('R', "relative"),
    ('a', "archive"),
    ('b', "backup"),
    ('d', "dirs"),
    ('e', "rsh"),
    ('f', "filter"),
    ('h', "help"),
    ('i', "itemize-changes"),
    ('k', "copy-dirlinks"),
    ('m', "prune-empty-dirs"),
    ('n', "dry-run"),
    ('q', "quiet"),
    ('r', "recursive"),
    ('u', "update"),
    ('v', "verbose"),
    ('x', "one-file-system"),
];

/// Why an `extra` option can't be allowed; none if it can.
pub fn refusal(extra: &str) -> Option<String> {
    const UNKNOWN: &str = "it is none of the options that are known to be harmless here";
    if let Some(long) = extra.strip_prefix("--") {
        let name = long.split('=').next().unwrap_or(long);
        let plain = name.strip_prefix("no-").unwrap_or(name);
        if name.is_empty() {
            return Some("it is no option".into());
        }
        if ALLOWED.contains(&plain) {
            return None;
        }
        let found = REFUSED.iter().find(|(refused, _)| *refused == plain);
        return Some(found.map_or(UNKNOWN, |(_, why)| *why).to_string());
    }
    let Some(short) = extra.strip_prefix('-').filter(|short| !short.is_empty()) else {
        return Some("it is no option: options begin with a dash".into());
    };
    let letter = short.chars().find(|letter| !ALLOWED_SHORT.contains(*letter))?;
    let long = REFUSED_SHORT.iter().find(|(refused, _)| *refused == letter).map(|(_, long)| *long);
    Some(match long.and_then(|long| REFUSED.iter().find(|(refused, _)| *refused == long)) {
        Some((long, why)) => format!("-{letter} is --{long}: {why}"),
        None => format!("-{letter} is not known to be harmless here; write the long option"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_is_the_default_and_each_part_can_be_left_out() {
        let all = option_arguments(&RsyncOptions::default());
        assert_eq!(all.len(), 7);
        let options =
            RsyncOptions { owner: Some(false), compress: Some(true), ..Default::default() };
        let arguments = option_arguments(&options);
        assert!(!arguments.contains(&"--owner".into()) && arguments.contains(&"--compress".into()));
    }

    #[test]
    fn options_that_defeat_the_design_are_refused_in_each_spelling() {
        for refused in [
            "--remove-source-files",
            "--delete-excluded",
            "--ignore-errors",
            "--inplace",
            "--files-from=x",
            "--dry-run",
            "-n",
            "-zn",
            "--no-relative",
            "--force",
            "-e",
            "x",
            "-",
            "--",
            "--no-implied-dirs",
            "--partial",
            "--copy-links",
            "-L",
            "--safe-links",
            "--remote-option=--delete-excluded",
            "-M",
            "--partial-dir=.",
            "--no-i-d",
            "--delete-de",
            "--log-file=x",
            "--old-args",
        ] {
            assert!(refusal(refused).is_some(), "{refused}");
        }
        for allowed in ["--skip-compress=gz", "-z", "--open-noatime", "--no-owner", "-W"] {
            assert_eq!(refusal(allowed), None, "{allowed}");
        }
    }

    #[test]
    fn the_lists_are_sorted_for_their_readers() {
        assert!(ALLOWED.is_sorted() && REFUSED.is_sorted() && REFUSED_SHORT.is_sorted());
    }
}
