//! What rsync writes on standard output: created directories, bytes sent, progress.

use bstr::ByteSlice;

use mirrorball_core::data::limits::{
    DIFFERENCES_BYTES_MAX, DIFFERENCES_MAX, EXTRAS_MAX, LINE_BYTES_MAX, PATH_BYTES_MAX,
    STDERR_BYTES_MAX, SURPRISES_MAX,
};
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
///
/// The host decides what stands there. Any bytes are read without an error, and what is kept of them has bounds.
#[derive(Debug, Default, PartialEq)]
pub struct Output {
    line: Vec<u8>,
    /// The line that is being read has more than [`LINE_BYTES_MAX`] bytes.
    line_is_too_long: bool,
    /// Bytes of `differences.first`.
    differences_bytes: usize,
    /// Directories created on the mirror, and what else was created directly in it; more than are of use are not
    /// kept.
    pub created_directories: Vec<RelPath>,
    /// What was itemized; of use for a run that changes nothing.
    pub differences: Differences,
    /// Names that were deleted, or would be, at most [`EXTRAS_MAX`]; none where nobody asks for them.
    pub extras: Option<Vec<RelPath>>,
    /// Whether there were more.
    pub extras_cut: bool,
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
            self.extend_line(&rest[..end]);
            self.end_line();
            rest = &rest[end + 1..];
        }
        self.extend_line(rest);
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        self.line_is_too_long |= self.line.len() + bytes.len() > LINE_BYTES_MAX;
        if self.line_is_too_long {
            self.line.clear();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.line_is_too_long) {
            // It may have been one.
            self.messages_cut = true;
        } else {
            self.take_line(&line);
        }
        line.clear();
        self.line = line;
    }

    fn take_line(&mut self, line: &[u8]) {
        let line = match progress_end(line) {
            Some(end) if end < line.len() => {
                self.progress = progress(&line[..end]).or(self.progress);
                &line[end..]
            }
            _ => line,
        };
        if let Some(itemized) = Itemized::parse(line) {
            self.take_itemized(&itemized);
        } else if let Some(rest) = line.strip_prefix(b"sent ") {
            let sent = rest.split(|b| *b == b' ').find(|field| !field.is_empty()).and_then(number);
            self.bytes_sent = sent.unwrap_or(self.bytes_sent);
        } else if let Some(rest) = line.strip_prefix(b"(Client) Protocol versions: ") {
            let version = rest.rsplit(|b| *b == b'=').next().and_then(number);
            self.protocol = version.and_then(|version| version.try_into().ok());
        } else if MESSAGES.iter().any(|message| line.starts_with(message)) {
            if self.messages.len() + line.len() < STDERR_BYTES_MAX {
                self.messages.extend_from_slice(line);
                self.messages.push(b'\n');
            } else {
                self.messages_cut = true;
            }
        } else if is_listed(line) {
            // The directory itself is no entry; a link to it is.
            let is_entry = !(line.starts_with(b"d") && line.ends_with(b" ."));
            self.entries_found = self.entries_found.saturating_add(is_entry.into());
        } else if let Some(percent) = progress(line) {
            self.progress = Some(percent);
        }
    }

    fn take_itemized(&mut self, itemized: &Itemized<'_>) {
        let Differences { total, created, deleted, first } = &mut self.differences;
        *total = total.saturating_add(1);
        *created = created.saturating_add(itemized.is_created().into());
        *deleted = deleted.saturating_add(itemized.is_deleted().into());
        let is_taken_over = b"hc".contains(&itemized.update);
        self.taken_over = self.taken_over.saturating_add(is_taken_over.into());
        if first.len() < DIFFERENCES_MAX && self.differences_bytes < DIFFERENCES_BYTES_MAX {
            let text = Escaped(&decode_rsync(itemized.line)).to_string();
            self.differences_bytes += text.len();
            first.push(text);
        }
        if let Some(extras) = self.extras.as_mut().filter(|_| itemized.is_deleted()) {
            let name = decode_rsync(itemized.name.strip_suffix(b"/").unwrap_or(itemized.name));
            match RelPath::parse(&name).ok().filter(|path| !path.is_root()) {
                Some(path) if extras.len() < EXTRAS_MAX => extras.push(path),
                _ => self.extras_cut = true,
            }
        }
        let is_directory = itemized.update == b'c' && itemized.kind == b'd';
        if !itemized.is_created()
            || itemized.update == b'h'
            || self.created_directories.len() >= CREATED_MAX
        {
            return;
        }
        let slash: &[u8] = if is_directory { b"/" } else { b"" };
        let name = decode_rsync(itemized.name.strip_suffix(slash).unwrap_or(itemized.name));
        if is_directory && name == b"." {
            self.created_directories.push(RelPath::root());
        // Of files only those directly in the Root are of interest.
        } else if name.len() <= PATH_BYTES_MAX && (is_directory || !name.contains(&b'/')) {
            self.created_directories.extend(RelPath::parse(&name).ok());
        }
    }
}

/// How many of [`Output::created_directories`] are of use.
const CREATED_MAX: usize = SURPRISES_MAX * 64;

/// One line of `--out-format=%i %n`, such as `>f.st...... name` or `*deleting   name`: what was done to an entry,
/// or would be.
struct Itemized<'a> {
    line: &'a [u8],
    /// `<`, `>`: a file was sent or received; `c`: made there; `h`: a hard link; `.`: attributes; `*`: deleted.
    update: u8,
    /// `f`, `d`, `L`, `D` or `S`. What a deleted entry was is not said: `d` too.
    kind: u8,
    attributes: &'a [u8],
    /// As rsync writes it, with a slash at the end of a directory's.
    name: &'a [u8],
}

impl<'a> Itemized<'a> {
    /// Takes a line apart; none if it is of another kind.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let (item, name) = line.split_at_checked(11)?;
        let (update, kind, attributes) = match item {
            [update, kind, attributes @ ..] => (*update, *kind, attributes),
            _ => return None,
        };
        let name = name.strip_prefix(b" ").filter(|name| !name.is_empty())?;
        let is_item = match update {
            b'*' => item == b"*deleting  ",
            _ => b"<>ch.".contains(&update) && b"fdLDS".contains(&kind),
        };
        is_item.then_some(Self { line, update, kind, attributes, name })
    }

    fn is_created(&self) -> bool {
        self.attributes == b"+++++++++"
    }

    fn is_deleted(&self) -> bool {
        self.update == b'*'
    }
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
        let (left, total) = (number(numbers.next()?)?, number(numbers.next()?)?);
        (total > 0).then(|| total.saturating_sub(left) as f32 / total as f32)
    });
    let percent = line.split(|b| *b == b' ').find_map(|field| number(field.strip_suffix(b"%")?));
    let percent = percent.map(|percent| percent as f32 / 100.0);
    percent.map(|percent| checked.unwrap_or(0.0).max(percent).min(1.0))
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.to_str().ok()?.parse().ok()
}

/// Where progress ends in a line that begins with it. rsync ends that line only with the next progress, so that after
/// a file that could not be sent other output follows in it.
fn progress_end(line: &[u8]) -> Option<usize> {
    let at = line.find(b"-chk=").filter(|_| line.starts_with(b" "))?;
    Some(at + line[at..].find_byte(b')')? + 1)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

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

    /// One line as rsync may write it, or nearly so.
    fn line() -> impl Strategy<Value = Vec<u8>> {
        let name = || {
            let part = prop_oneof![
                4 => "[a-c ./]{1,4}".prop_map(String::into_bytes),
                1 => Just(b"\\#012".to_vec()),
                1 => vec(any::<u8>(), 1..4),
            ];
            vec(part, 0..4).prop_map(|parts| parts.concat())
        };
        let after = |begin: &'static str| name().prop_map(move |n| [begin.as_bytes(), &n].concat());
        let itemized = ("[<>ch.*][fdLDS]([+]{9}|[.cstpoguax]{9}) ", name());
        prop_oneof![
            4 => itemized.prop_map(|(item, name)| [item.as_bytes(), &name].concat()),
            2 => after("cd+++++++++ "),
            2 => after("*deleting   "),
            1 => after("cannot delete non-empty directory: "),
            1 => Just(b"Deletions stopped due to --max-delete limit (7 skipped)".to_vec()),
            1 => "sent [0-9]{0,30} bytes".prop_map(String::into_bytes),
            1 => "[(]Client[)] Protocol versions: remote=[0-9]{1,12}, negotiated=[0-9]{0,12}"
                .prop_map(String::into_bytes),
            1 => "[d-][rwx-]{9}  [0-9,]{1,9} 2026/11/21 07:46:55 [.f]".prop_map(String::into_bytes),
            1 => " {0,5}[0-9,]{0,40} +(NaN|inf|[0-9]{1,40})%  1MB/s 0:00 [(]xfr#5, (to|ir)-chk=[0-9]{0,50}/[0-9]{0,50}[)]"
                .prop_map(String::into_bytes),
            1 => vec(any::<u8>(), 0..30),
            1 => (LINE_BYTES_MAX - 13..LINE_BYTES_MAX + 2)
                .prop_map(|length| [b">f+++++++++ ", vec![b'x'; length].as_slice()].concat()),
        ]
    }

    /// Lines of which each may end too early.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let cut = |(mut line, end, keep): (Vec<u8>, u8, prop::sample::Index)| {
            // Half of them are whole.
            line.truncate(keep.index(line.len() * 2 + 1));
            line.push(end);
            line
        };
        let lines = (line(), prop_oneof![Just(b'\n'), Just(b'\r')], any::<prop::sample::Index>());
        vec(lines.prop_map(cut), 0..20).prop_map(|lines| lines.concat())
    }

    proptest! {
        #[test]
        fn any_output_is_read_the_same_however_it_is_cut(
            stream in stream(),
            cuts in vec(any::<prop::sample::Index>(), 0..20),
            end in any::<prop::sample::Index>(),
        ) {
            let stream = &stream[..end.index(stream.len() + 1)];
            let (mut whole, mut pieces) = (Output::default(), Output::default());
            whole.take(stream);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let mut from = 0;
            for to in cuts.into_iter().chain([stream.len()]) {
                pieces.take(&stream[from..to]);
                from = to;
            }
            prop_assert_eq!(&whole, &pieces);
            let mut bytes = Output::default();
            stream.chunks(1).for_each(|byte| bytes.take(byte));
            prop_assert_eq!(&whole, &bytes);
            let is_part = |progress: f32| (0.0..=1.0).contains(&progress);
            prop_assert!(whole.progress.is_none_or(is_part), "{:?}", whole.progress);
        }
    }

    #[test]
    fn a_line_that_is_shorter_than_its_format_is_no_item() {
        for line in
            [&b"*deleting "[..], b"*deleting", b"*deleting   ", b">f+++++++++", b">f+++++++++ "]
        {
            let mut output = Output::default();
            output.take(line);
            output.take(b"\n");
            assert_eq!(output, Output::default(), "{}", line.as_bstr());
        }
    }

    /// Bytes on the heap, about.
    fn size(output: &Output) -> usize {
        let names = output.created_directories.iter().map(|path| path.as_bytes().len() + 32);
        let shown = output.differences.first.iter().map(|line| line.capacity() + 24);
        output.line.capacity() + output.messages.capacity() + names.chain(shown).sum::<usize>()
    }

    #[test]
    fn a_host_that_says_more_than_is_of_use_fills_no_memory() {
        const MIB: usize = 1 << 20;
        let name = vec![b'x'; LINE_BYTES_MAX - 12];
        let escaped = "\\#001".repeat((LINE_BYTES_MAX - 12) / 5).into_bytes();
        for (begin, rest, lines) in [
            (&b">f+++++++++ "[..], vec![b'x'; MIB], 20),
            (b">f+++++++++ ", name.clone(), 10_000),
            (b"cd+++++++++ ", escaped, 10_000),
            (b"cannot delete non-empty directory: ", name[40..].to_vec(), 10_000),
            (b"*deleting   ", b"x".to_vec(), 100_000),
        ] {
            let mut output = Output::default();
            let line = [begin, rest.as_slice(), b"\n"].concat();
            (0..lines).for_each(|_| output.take(&line));
            assert!(size(&output) < 8 * MIB, "{}: {}", begin.as_bstr(), size(&output));
        }
        let mut endless = Output::default();
        (0..100).for_each(|_| endless.take(&vec![b'x'; MIB]));
        assert!(size(&endless) < MIB, "a line without an end: {}", size(&endless));
    }

    #[test]
    fn counters_stay_at_their_largest_value() {
        let differences = Differences {
            total: u64::MAX,
            created: u64::MAX,
            deleted: u64::MAX,
            first: Vec::new(),
        };
        let (taken_over, entries_found) = (u64::MAX, u64::MAX);
        let mut output = Output { differences, taken_over, entries_found, ..Output::default() };
        output.take(b"cd+++++++++ d/\n*deleting   x\n-rw-r--r--  1 2026/11/21 07:46:55 f\n");
        assert_eq!((output.taken_over, output.entries_found), (u64::MAX, u64::MAX));
        let Differences { total, created, deleted, .. } = output.differences;
        assert_eq!((total, created, deleted), (u64::MAX, u64::MAX, u64::MAX));
    }
}
