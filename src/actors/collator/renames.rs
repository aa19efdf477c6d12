//! Renames as they are found on the disk: what of them is worth a run of rsync of its own.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::watch::presence::Looker;
use crate::watch::scan;
use mirrorball_core::data::absent_volumes::AbsentVolumes;
use mirrorball_core::data::batch::Rename;
use mirrorball_core::data::change::Move;
use mirrorball_core::data::limits::{RENAME_BYTES_MIN, RENAMES_PER_PUSH_MAX};
use mirrorball_core::data::name::is_plain;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::source_dir::SourceDir;
use mirrorball_core::source::filter::Filter;

/// Looks at what was renamed, innermost first.
pub(super) fn look(
    source: &SourceDir,
    moves: &[Move],
    filter: &Filter,
    absent: &AbsentVolumes,
) -> Vec<Rename> {
    let is_held = |path: &RelPath| absent.paths().any(|volume| path.is_related(volume));
    let mut looker = Looker::new(source);
    let mut found: Vec<Rename> = Vec::new();
    // By the directories that held and hold them, and whether their names are others.
    let mut files: BTreeMap<(RelPath, RelPath, bool), (u64, Vec<RelPath>)> = BTreeMap::new();
    for it in moves.iter().filter(|it| !is_held(&it.from) && !is_held(&it.to)) {
        let Some(inspection) = looker.inspect(&it.to) else { continue };
        if filter.excludes(&it.to, inspection.is_directory) {
            continue;
        }
        if inspection.is_directory {
            found.extend(directory(source, it, filter));
        } else if inspection.is_regular && inspection.size >= RENAME_BYTES_MIN {
            let (Some(from), Some(to)) = (it.from.parent(), it.to.parent()) else { continue };
            let group = files.entry((from, to, it.from.name() != it.to.name())).or_default();
            group.0 += inspection.size;
            group.1.push(RelPath::root().join(it.to.name()));
        }
    }
    found.extend(files.into_iter().map(|((from, to, other_names), (bytes, mut files))| {
        files.sort_unstable();
        files.dedup();
        Rename {
            from,
            to,
            files,
            files_alone: true,
            other_names,
            bytes,
            may_link: true,
            is_exact: false,
            is_gone: false,
        }
    }));
    found.retain(|it| can_be_argument(&it.from) && can_be_argument(&it.to));
    found.sort_by_key(|it| Reverse(it.bytes));
    found.truncate(RENAMES_PER_PUSH_MAX);
    // An outer one would send what an inner one finds.
    found.sort_by_key(|it| (Reverse(it.to.ancestors().count()), it.to.clone()));
    found
}

/// A directory with its regular files and their bytes; none where that is not worth it.
fn directory(source: &SourceDir, it: &Move, filter: &Filter) -> Option<Rename> {
    let scan = scan::scan(source, &it.to, |path, is_dir| filter.excludes(path, is_dir)).ok()?;
    let (mut bytes, mut files) = (0, Vec::new());
    for (directory, listing) in &scan.directories {
        for (name, facts) in listing.entries() {
            if facts.is_regular() {
                bytes += facts.size;
                files.push(directory.join(name).rebased(&it.to, &RelPath::root())?);
            }
        }
    }
    files.sort_unstable();
    let stays = |file: &RelPath| {
        let old = file.rebased(&RelPath::root(), &it.from);
        old.is_none_or(|old| filter.excludes(&old, false))
    };
    let may_link = !files.iter().any(stays);
    let Move { from, to, is_exact } = it.clone();
    let rename = Rename {
        from,
        to,
        files,
        files_alone: false,
        other_names: false,
        bytes,
        may_link,
        is_exact,
        is_gone: false,
    };
    (bytes >= RENAME_BYTES_MIN).then_some(rename)
}

/// Whether a path means itself as an argument of rsync at the other end, too. Before rsync 3.2.4, and with
/// `--old-args`, a shell there takes it apart, and a part may be an option.
fn can_be_argument(path: &RelPath) -> bool {
    path.as_bytes().iter().copied().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_case_57_only_plain_names_become_arguments() {
        let can_be = |name: &[u8]| can_be_argument(&RelPath::parse(name).unwrap());
        assert!(can_be(b"a/b-1.2_+=@,%"));
        for byte in 1..=u8::MAX {
            let is_name = byte.is_ascii_alphanumeric() || b"/._-+=@,%".contains(&byte);
            assert!(is_name || !can_be(&[b'a', byte, b'b']), "{byte:#x}");
        }
        assert!(!can_be(b"B --log-file=/x C") && !can_be("gr\u{f6}\u{df}e".as_bytes()));
    }
}
