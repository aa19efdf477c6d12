//! Which file systems are mounted below a Root, and word of each mount and unmount on this machine.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use futures_util::{Stream, stream};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use mirrorball_core::data::path::RelPath;

/// One line for each mount, see `proc_pid_mountinfo(5)`.
const MOUNTS: &str = "/proc/self/mountinfo";

/// The mount points below a directory, relative to it.
pub fn below(root: &Path) -> io::Result<BTreeSet<RelPath>> {
    Ok(parse(&std::fs::read(MOUNTS)?, &root.canonicalize()?))
}

/// An item for each change of the mounts; several at once may be one item.
#[expect(
    deprecated,
    reason = "its I/O safety is open only for types that hand out changing descriptors"
)]
pub fn changes() -> io::Result<impl Stream<Item = ()> + Unpin> {
    // The kernel marks a change as an error condition with urgent data.
    let fd = AsyncFd::with_interest(File::open(MOUNTS)?, Interest::PRIORITY | Interest::ERROR)?;
    let changes = stream::unfold(fd, async |fd| {
        fd.ready(Interest::PRIORITY | Interest::ERROR).await.ok()?.clear_ready();
        Some(((), fd))
    });
    Ok(Box::pin(changes))
}

fn parse(mounts: &[u8], root: &Path) -> BTreeSet<RelPath> {
    let fields = mounts.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4));
    let paths = fields.map(|field| PathBuf::from(std::ffi::OsString::from_vec(unescape(field))));
    paths
        .filter_map(|path| {
            RelPath::parse(path.strip_prefix(root).ok()?.as_os_str().as_bytes()).ok()
        })
        .filter(|path| !path.is_root())
        .collect()
}

/// Blanks, line ends and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_below_a_root_are_read_with_their_escapes() {
        let text = b"36 35 98:0 / / rw,noatime - ext4 /dev/root rw\n\
            37 36 0:5 / /srv/site/a\\040b rw - tmpfs tmpfs rw\n\
            38 36 0:5 / /srv/site rw - tmpfs tmpfs rw\n\
            39 36 0:5 / /srv/site/a\\040b rw - tmpfs tmpfs rw\n\
            40 36 0:5 / /srv/site2/c rw - tmpfs tmpfs rw\n";
        let expected = BTreeSet::from([RelPath::parse(b"a b").unwrap()]);
        assert_eq!(parse(text, Path::new("/srv/site")), expected);
    }
}
