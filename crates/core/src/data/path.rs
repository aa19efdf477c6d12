//! A path inside a Root: bytes as the kernel gave them, never text.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::data::name::{Escaped, unescape};

/// A path relative to its Root: components joined by single slashes, none of them empty, `.` or `..`.
/// The Root itself is the empty path. Any byte but NUL may stand in a component.
///
/// Ordered by bytes, so a directory comes before what is below it, and everything below `a` lies in
/// the range from `a/` to `a0` (`0` follows `/`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Arc<[u8]>);

/// Why some bytes are not a [`RelPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} is not a path inside a root: {why}")]
pub struct BadRelPath {
    path: String,
    why: &'static str,
}

impl RelPath {
    /// The Root itself.
    pub fn root() -> Self {
        Self(Arc::from([].as_slice()))
    }

    /// Takes bytes such as `a/b`; refuses absolute paths, `..`, empty components and NUL.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadRelPath> {
        let bad = |why| Err(BadRelPath { path: Escaped(bytes).to_string(), why });
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        if bytes.contains(&0) {
            return bad("it holds a NUL byte");
        }
        for component in bytes.split(|b| *b == b'/') {
            match component {
                b"" => return bad("it has an empty component or begins or ends with a slash"),
                b"." | b".." => return bad("it has a component . or .."),
                _ => (),
            }
        }
        Ok(Self(Arc::from(bytes)))
    }

    /// This directory's entry `name`: one component, as a directory listing or the kernel gives it.
    pub fn join(&self, name: &[u8]) -> Self {
        debug_assert!(!name.is_empty() && !name.contains(&b'/'), "{}", Escaped(name));
        if self.is_root() {
            return Self(Arc::from(name));
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self(bytes.into())
    }

    /// The bytes, without a slash at either end; empty for the Root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as an operating system path, `.` for the Root.
    pub fn as_path(&self) -> &Path {
        let bytes = if self.is_root() { b".".as_slice() } else { &self.0 };
        Path::new(std::ffi::OsStr::from_bytes(bytes))
    }

    /// Whether this is the Root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory that holds it; none for the Root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(Arc::from(&self.0[..end])))
    }

    /// The last component; empty for the Root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&[])
    }

    /// All directories above it, nearest first, the Root last; nothing for the Root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + use<> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// Whether it lies below `directory`; nothing lies below itself.
    pub fn is_below(&self, directory: &Self) -> bool {
        if directory.is_root() {
            return !self.is_root();
        }
        self.0.len() > directory.0.len()
            && self.0.starts_with(&directory.0)
            && self.0[directory.0.len()] == b'/'
    }

    /// Whether it is this directory, or below it.
    pub fn is_at_or_below(&self, directory: &Self) -> bool {
        self == directory || self.is_below(directory)
    }

    /// Whether both are the same, or one lies below the other.
    pub fn is_related(&self, other: &Self) -> bool {
        self == other || self.is_below(other) || other.is_below(self)
    }

    /// The final name of a file that a receiver writes first under this one: `d/.name.Ab12Cd` is `d/name` being
    /// received; none if this is no such name.
    pub fn without_temporary_name(&self) -> Option<Self> {
        let name = self.name().strip_prefix(b".")?;
        let dot = name.iter().rposition(|byte| *byte == b'.')?;
        let (stem, suffix) = (&name[..dot], &name[dot + 1..]);
        let is_temporary = suffix.len() == 6 && suffix.iter().all(u8::is_ascii_alphanumeric);
        if !is_temporary || stem.is_empty() {
            return None;
        }
        self.parent().map(|parent| parent.join(stem))
    }

    /// The same path after the directory `from` above it, or the path itself, was renamed to `to`.
    pub fn rebased(&self, from: &Self, to: &Self) -> Option<Self> {
        if self == from {
            return Some(to.clone());
        }
        if !self.is_below(from) {
            return None;
        }
        let rest = if from.is_root() { &self.0[..] } else { &self.0[from.0.len() + 1..] };
        let mut bytes = to.0.to_vec();
        if !to.is_root() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(rest);
        Some(Self(bytes.into()))
    }

    /// Bounds for an ordered map: everything below this directory lies in `[start, end)`.
    /// None for the Root, below which everything lies.
    pub fn below(&self) -> Option<(Self, Self)> {
        if self.is_root() {
            return None;
        }
        let bound = |last| {
            let mut bytes = self.0.to_vec();
            bytes.push(last);
            Self(bytes.into())
        };
        Some((bound(b'/'), bound(b'/' + 1)))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { Escaped(&self.0).fmt(f) }
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for RelPath {
    /// As text, escaped; the root is the empty text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Escaped(&self.0))
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&unescape(&text)).map_err(serde::de::Error::custom)
    }
}

impl From<&str> for RelPath {
    /// For literals in tests.
    fn from(text: &str) -> Self {
        Self::parse(text.as_bytes()).expect("a literal path inside a root")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        for bad in ["/etc", "..", "a/../b", "a//b", "a/", "./a", "a\0b"] {
            assert!(RelPath::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(RelPath::parse(b"a/\xff\n*/..b").is_ok());
    }

    #[test]
    fn any_name_is_kept_as_text() {
        let path = RelPath::parse(b"a/\xff\n\\b").expect("no component is bad");
        let text = Escaped(path.as_bytes()).to_string();
        let text: serde::de::value::StringDeserializer<serde::de::value::Error> =
            serde::de::IntoDeserializer::into_deserializer(text);
        assert_eq!(RelPath::deserialize(text), Ok(path));
    }

    #[test]
    fn below_bounds_hold_exactly_the_descendants() {
        let all = ["a", "a!", "a-b", "a/b", "a/b/c", "a0", "ab"].map(RelPath::from);
        let (start, end) = RelPath::from("a").below().unwrap();
        for path in &all {
            let within = *path >= start && *path < end;
            assert_eq!(within, path.is_below(&"a".into()), "{path}");
        }
    }

    #[test]
    fn rebasing_keeps_what_is_below() {
        let path = RelPath::from("a/b/c");
        assert_eq!(path.rebased(&"a/b".into(), &"x".into()), Some("x/c".into()));
        assert_eq!(path.rebased(&"a/b/c".into(), &"x".into()), Some("x".into()));
        assert_eq!(path.rebased(&"a/bb".into(), &"x".into()), None);
    }
}
