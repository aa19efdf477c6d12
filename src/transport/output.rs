//! What rsync writes on standard output: created directories, bytes sent, progress.

use bstr::ByteSlice;

use mirrorball_core::data::limits::{DIFFERENCES_MAX, STDERR_BYTES_MAX, SURPRISES_MAX};
use mirrorball_core::data::name::{Escaped, decode_rsync};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::step::Differences;

/// Messages of consequence that rsync counts as information, and so writes to standard output. No other
/// line can begin so: those with names begin with what was done to them.
const MESSAGES: [&[u8]; 3] = [
    b"cannot delete non-empty directory: ",
    b"IO error encountered -- skipping file deletion",
    b"Deletions stopped due to --max-delete limit",
];

/// Reads rsync's output piece by piece; expects `--out-format=%i %n` and `--info=stats1,progress2`.
#[derive(Default)]
pub struct Output {
    line: Vec<u8>,
    /// Directories created on the mirror, and what else was created directly in it; more than are of use are not
    /// kept.
    pub created_directories: Vec<RelPath>,
    /// What was itemized; of use for a run that changes nothing.
    pub differences: Differences,
    /// Entries that were linked, copied or made there, without being sent.
    pub taken_over: u64,
    /// Lines of a listing, but for the directory itself.
    pub entries_found: u64,
    /// Bytes that rsync says it sent.
    pub bytes_sent: u64,
    /// Lines that belong to what it said on standard error.
    pub messages: Vec<u8>,
    /// Whether there were more of them than are kept.
    pub messages_cut: bool,
    /// The protocol that both ends speak, once they have agreed.
    pub protocol: Option<u32>,
    /// Part that is done, as rsync knows it.
    pub progress: Option<f32>,
}

impl Output {
    /// Takes the next piece; it may end anywhere.
    pub fn take(&mut self, piece: &[u8]) {
        let mut rest = piece;
        // Progress lines end in a carriage return; names never hold one unescaped.
        while let Some(end) = rest.find_byteset(b"\n\r") {
            let mut line = std::mem::take(&mut self.line);
            if line.is_empty() {
                self.take_line(&rest[..end]);
            } else {
                line.extend_from_slice(&rest[..end]);
                self.take_line(&line);
            }
            rest = &rest[end + 1..];
        }
        self.line.extend_from_slice(rest);
    }

    fn take_line(&mut self, line: &[u8]) {
        let line = match progress_end(line) {
            Some(end) if end < line.len() => {
                self.progress = progress(&line[..end]).or(self.progress);
                &line[end..]
            }
            _ => line,
        };
        if is_itemized(line) {
            self.differences.total += 1;
            self.differences.deleted += u64::from(line.starts_with(b"*deleting"));
            self.differences.created += u64::from(line.get(2..11) == Some(b"+++++++++"));
            self.taken_over += u64::from(b"hc".contains(&line[0]));
            if self.differences.first.len() < DIFFERENCES_MAX {
                self.differences.first.push(Escaped(&decode_rsync(line)).to_string());
            }
        }
        if let Some(name) = line.strip_prefix(b"cd+++++++++ ") {
            let name = decode_rsync(name.strip_suffix(b"/").unwrap_or(name));
            let path = if name == b"." { Ok(RelPath::root()) } else { RelPath::parse(&name) };
            if self.created_directories.len() < SURPRISES_MAX * 64 {
                self.created_directories.extend(path.ok());
            }
        } else if is_itemized(line) && line[2..11] == *b"+++++++++" && line[0] != b'h' {
            // Of files only those directly in the Root are of interest.
            let name = decode_rsync(&line[12..]);
            let is_top =
                !name.contains(&b'/') && self.created_directories.len() < SURPRISES_MAX * 64;
            self.created_directories.extend(RelPath::parse(&name).ok().filter(|_| is_top));
        } else if let Some(rest) = line.strip_prefix(b"sent ") {
            let number = rest.split(|b| *b == b' ').find(|field| !field.is_empty());
            let number = number.and_then(|digits| digits.to_str().ok()?.parse().ok());
            self.bytes_sent = number.unwrap_or(self.bytes_sent);
        } else if let Some(rest) = line.strip_prefix(b"(Client) Protocol versions: ") {
            let number = rest.rsplit(|b| *b == b'=').next();
            self.protocol = number.and_then(|digits| digits.to_str().ok()?.parse().ok());
        } else if MESSAGES.iter().any(|message| line.starts_with(message)) {
            if self.messages.len() + line.len() < STDERR_BYTES_MAX {
                self.messages.extend_from_slice(line);
                self.messages.push(b'\n');
            } else {
                self.messages_cut = true;
            }
        } else if is_listed(line) {
            // The directory itself is no entry; a link to it is.
            self.entries_found += u64::from(!(line.starts_with(b"d") && line.ends_with(b" .")));
        } else if let Some(percent) = progress(line) {
            self.progress = Some(percent);
        }
    }
}

/// `>f.st...... name`, or `*deleting   name`: what was done to an entry, or would be.
fn is_itemized(line: &[u8]) -> bool {
    line.starts_with(b"*deleting ")
        || (line.len() > 12
            && line[11] == b' '
            && b"<>ch.*".contains(&line[0])
            && b"fdLDS".contains(&line[1]))
}

/// `-rw-r--r--          1,234 2026/11/21 07:46:55 name`, as `--list-only` writes it.
fn is_listed(line: &[u8]) -> bool {
    line.len() > 11
        && b"-dlcbps".contains(&line[0])
        && line[10] == b' '
        && line[1..10].iter().all(|b| b"-rwxsStT".contains(b))
}

/// `      1,234  42%    1.20MB/s    0:00:01 (xfr#5, to-chk=12/345)`: files checked tell more than bytes
/// while nothing has to be sent.
fn progress(line: &[u8]) -> Option<f32> {
    let checked = line.find(b"chk=").and_then(|at| {
        let mut numbers = line[at + 4..].split(|b| !b.is_ascii_digit());
        let (left, total) = (numbers.next()?, numbers.next()?);
        let number = |bytes: &[u8]| bytes.to_str().ok()?.parse::<f32>().ok();
        let (left, total) = (number(left)?, number(total)?);
        (total > 0.0).then(|| (total - left) / total)
    });
    let percent = line.split(|b| *b == b' ').find_map(|field| {
        field.strip_suffix(b"%")?.to_str().ok()?.parse::<f32>().ok().map(|percent| percent / 100.0)
    });
    percent.map(|percent| checked.unwrap_or(0.0).max(percent).clamp(0.0, 1.0))
}

/// Where progress ends in a line that begins with it. rsync ends that line only with the next progress, so that after
/// a file that could not be sent other output follows in it.
fn progress_end(line: &[u8]) -> Option<usize> {
    let at = line.find(b"-chk=").filter(|_| line.starts_with(b" "))?;
    Some(at + line[at..].find_byte(b')')? + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_progress_in_the_same_line_is_read_too() {
        let mut output = Output::default();
        output.take(
            b"\r  3  25%    0.00kB/s    0:00:00 (xfr#1, to-chk=2/5)cd+++++++++ c/\n\r  3  25%    0.00kB/s    \
              0:00:00 (xfr#1, ir-chk=1/5)IO error encountered -- skipping file deletion\n",
        );
        assert_eq!(output.created_directories, ["c".into()]);
        assert_eq!(output.messages, b"IO error encountered -- skipping file deletion\n");
        assert_eq!(output.progress, Some(0.8));
    }

    #[test]
    fn created_directories_bytes_and_progress_are_read_from_pieces() {
        let text =
            b"(Client) Protocol versions: remote=32, negotiated=31\n.d..t...... ./\ncd+++++++++ a\\#012b/\n<f+++++++++ a/x\n\r  1,234  42%  1.20MB/s \
            0:00:01 (xfr#5, to-chk=50/100)\r\n*deleting   gone\ncannot delete non-empty \
            directory: d\ndrwxr-xr-x  4,096 2026/11/21 07:46:55 .\n-rw-r--r--  1 2026/11/21 07:46:55 f\nlrwxrwxrwx  1 2026/11/21 07:46:55 l -> .\n\nsent 5123 bytes  received 35 bytes  \
            10316.00 bytes/sec\ntotal size is 4  speedup is 0.00\n";
        let mut output = Output::default();
        text.chunks(7).for_each(|piece| output.take(piece));
        assert_eq!(output.created_directories, [RelPath::parse(b"a\nb").unwrap()]);
        assert_eq!(output.messages, b"cannot delete non-empty directory: d\n");
        assert_eq!(output.taken_over, 1);
        let Differences { total, created, deleted, .. } = output.differences;
        assert_eq!((total, created, deleted), (4, 2, 1));
        assert_eq!((output.bytes_sent, output.entries_found), (5123, 2));
        assert_eq!((output.progress, output.protocol), (Some(0.5), Some(31)));
    }
}
