//! Which rsync is here, and what is known of such versions.

use std::fmt;

use crate::transport::process::{self, Spec};
use mirrorball_core::data::step::Exit;

/// A version of rsync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

/// The oldest without holes that are known: 3.4.0, 3.4.3 and 3.4.4 closed serious ones.
const SAFE: Version = Version(3, 4, 4);

/// The oldest that compares times to the nanosecond.
const EXACT: Version = Version(3, 1, 3);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// What to say of it to whoever runs it; nothing, if it is good.
    pub fn warning(self) -> Option<String> {
        if self < EXACT {
            let why = "it compares times in whole seconds, so changes may be missed";
            return Some(format!("rsync {self} is older than {EXACT}: {why}; install a newer one"));
        }
        (self < SAFE).then(|| {
            format!("rsync {self} has security holes that {SAFE} has closed; install a newer one")
        })
    }
}

/// The version of this program; none if it does not say it as rsync does.
pub async fn version(program: &str) -> Option<Version> {
    let arguments = vec!["--version".into()];
    let spec = Spec { program: program.into(), arguments, ..Spec::default() };
    let mut said = Vec::new();
    let ended = process::run(spec, |_| (), |piece| said.extend_from_slice(piece)).await;
    (ended.exit == Exit::Code(0)).then(|| parse(&said))?
}

/// `rsync  version 3.5.0  protocol version 32`; some builds write a `v` in front of the number.
fn parse(said: &[u8]) -> Option<Version> {
    let text = String::from_utf8_lossy(said);
    let mut words = text.lines().next()?.split_whitespace();
    (words.next()? == "rsync" && words.next()? == "version").then_some(())?;
    let mut numbers = words.next()?.trim_start_matches('v').split('.');
    let mut number = || {
        let digits = numbers.next()?;
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().ok()
    };
    Some(Version(number()?, number()?, number().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_old_ones_warned_about() {
        let read = |text: &str| parse(text.as_bytes());
        assert_eq!(read("rsync  version 3.5.0  protocol version 32\n"), Some(Version(3, 5, 0)));
        assert_eq!(
            read("rsync  version v3.2.7pre1  protocol version 31\n"),
            Some(Version(3, 2, 7))
        );
        assert_eq!(read("openrsync: protocol version 29\n"), None);
        assert!(Version(3, 5, 0).warning().is_none() && Version(3, 4, 4).warning().is_none());
        assert!(Version(3, 2, 7).warning().unwrap().contains("security"));
        assert!(Version(3, 0, 9).warning().unwrap().contains("whole seconds"));
    }
}
