//! How names that are not plain text are written for people, and read back.

use std::fmt;

use bstr::{ByteSlice, ByteVec};

/// Writes any bytes as text without control characters: `\\` for a backslash, `\n`, `\r`, `\t` for
/// these, `\xHH` for every other byte that is not part of a printable UTF-8 character. Names in JSON,
/// logs and arguments are written so; [`unescape`] reads them back to the same bytes.
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (start, end, ch) in self.0.char_indices() {
            match ch {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                char::REPLACEMENT_CHARACTER => write_hex(f, &self.0[start..end])?,
                _ if is_unprintable(ch) => write_hex(f, &self.0[start..end])?,
                _ => write!(f, "{ch}")?,
            }
        }
        Ok(())
    }
}

/// Reads back what [`Escaped`] wrote.
pub fn unescape(text: &str) -> Vec<u8> {
    Vec::unescape_bytes(text)
}

/// Reads a name as rsync prints it: control characters, and bytes that its locale can't show, stand as
/// `\#` and three octal digits.
pub fn decode_rsync(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, tail)) = rest.split_first() {
        if let [b'\\', b'#', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] = rest {
            bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}

/// Whether a byte of a word means itself to every shell and to rsync's pattern matching. Letters beyond ASCII do not:
/// to some shells one of their bytes is a blank.
pub fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+=@,%".contains(&byte)
}

/// Cuts a text to a width in the middle: what rsync says begins with a name and ends with the reason.
pub fn elide(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width || width < 8 {
        return text.to_string();
    }
    let head = (width - 1) / 3;
    let tail = width - 1 - head;
    let begin: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{begin}…{end}")
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02X}"))
}

/// Control characters, and those that turn the direction of a line or have no width: a name must not
/// be able to rearrange the terminal that shows it.
fn is_unprintable(ch: char) -> bool {
    ch.is_control()
        || matches!(ch, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = Escaped(&bytes).to_string();
            prop_assert!(!text.chars().any(is_unprintable));
            prop_assert_eq!(unescape(&text), bytes);
        }
    }

    #[test]
    fn hard_case_28_names_that_are_not_utf8_have_one_escape() {
        assert_eq!(Escaped(b"a\xffb\n\x1b[2J\\").to_string(), r"a\xFFb\n\x1B[2J\\");
        assert_eq!(Escaped("größe".as_bytes()).to_string(), "größe");
    }

    #[test]
    fn long_texts_keep_their_beginning_and_their_end() {
        assert_eq!(elide("web: something: Connection refused", 22), "web: so…ection refused");
        assert_eq!(elide("short", 22), "short");
    }
}
