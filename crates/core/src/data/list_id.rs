//! Names of lists of deletions that wait for approval.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::data::ids::{HostId, MirrorId, RootId};

/// A list of deletions that waits for approval: `site:17` of what the root `site` lost, `site@web1:18` of what its
/// mirror on `web1` holds beyond it. A root and its mirrors share one sequence of numbers, which goes on after a restart
/// of the daemon: no id ever names two lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListId {
    /// The root or mirror that the list belongs to.
    pub root: RootId,
    /// The host of the mirror whose list it is; none for what the root lost.
    pub host: Option<HostId>,
    /// The number.
    pub number: u64,
}

/// A text is no [`ListId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not the number of a list; expected one such as site:17 or site@web1:18")]
pub struct BadListId(String);

impl ListId {
    /// The list of what a root lost.
    pub fn of_root(root: &RootId, number: u64) -> Self {
        Self { root: root.clone(), host: None, number }
    }

    /// The list of what a mirror holds beyond its root.
    pub fn of_mirror(mirror: &MirrorId, number: u64) -> Self {
        Self { root: mirror.root.clone(), host: Some(mirror.host.clone()), number }
    }

    /// The mirror whose list it is; none for what the root lost.
    pub fn mirror(&self) -> Option<MirrorId> {
        self.host.as_ref().map(|host| MirrorId::new(&self.root, host))
    }
}

impl fmt::Display for ListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, host, number } = self;
        match host {
            Some(host) => write!(f, "{root}@{host}:{number}"),
            None => write!(f, "{root}:{number}"),
        }
    }
}

impl FromStr for ListId {
    type Err = BadListId;
    fn from_str(text: &str) -> Result<Self, BadListId> {
        let parse = || {
            let (place, number) = text.rsplit_once(':')?;
            let number = number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse().ok())?;
            let (root, host) = match place.split_once('@') {
                Some((root, host)) => (root, Some(host)),
                None => (place, None),
            };
            let is_named = !root.is_empty() && host != Some("");
            let id = Self { root: root.into(), host: host.map(HostId::from), number: number? };
            is_named.then_some(id)
        };
        parse().ok_or_else(|| BadListId(text.into()))
    }
}

impl Serialize for ListId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for ListId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        String::schema()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for ListId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        for text in ["site:17", "site@web-1.x:18"] {
            assert_eq!(text.parse::<ListId>().map(|id| id.to_string()), Ok(text.into()));
        }
        for text in ["17", "site", "site:", ":17", "@web:17", "site@:17", "site:+1", "site:1x"] {
            assert_eq!(text.parse::<ListId>(), Err(BadListId(text.into())));
        }
    }
}
