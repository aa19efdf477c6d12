//! Which mirrors a command is about.

use std::fmt;
use std::str::FromStr;

use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::plan::Plan;

/// A root, a host, a mirror, or everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// All mirrors.
    All,
    /// `root`: its mirrors.
    Root(String),
    /// `@host`: the mirrors on it.
    Host(String),
    /// `root@host`.
    Mirror(String, String),
}

impl Selector {
    /// Whether this mirror is meant.
    pub fn selects(&self, mirror: &MirrorId) -> bool {
        let is_root = |name: &str| mirror.root.as_str() == name;
        let is_host = |name: &str| mirror.host.as_str() == name;
        match self {
            Self::All => true,
            Self::Root(root) => is_root(root),
            Self::Host(host) => is_host(host),
            Self::Mirror(root, host) => is_root(root) && is_host(host),
        }
    }

    /// Whether anything in the plan is meant.
    pub fn is_known(&self, plan: &Plan) -> bool {
        let mut mirrors = plan.roots.values().flat_map(|root| &root.mirrors);
        mirrors.any(|mirror| self.selects(&mirror.id))
    }
}

impl FromStr for Selector {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('@') {
            None if text.is_empty() => Err("expected root, @host or root@host".into()),
            None => Ok(Self::Root(text.into())),
            Some((_, "")) => Err("expected a host after @".into()),
            Some(("", host)) => Ok(Self::Host(host.into())),
            Some((root, host)) => Ok(Self::Mirror(root.into(), host.into())),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("--all"),
            Self::Root(root) => f.write_str(root),
            Self::Host(host) => write!(f, "@{host}"),
            Self::Mirror(root, host) => write!(f, "{root}@{host}"),
        }
    }
}
