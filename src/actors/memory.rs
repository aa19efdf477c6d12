//! What outlives the daemon: a small file for each Mirror in the state directory.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::core::directory::Directory;
use crate::types::ids::MirrorId;
use crate::types::plan::{Plan, RootPlan};

/// A file that is there after a run that ended in good order. No host's name begins with a dot.
const CLEAN: &str = ".clean";

/// The Mirrors of one Root, as the last run left them. What is there for another target, or can't be
/// read, counts as nothing.
pub struct Memory {
    directory: PathBuf,
    targets: BTreeMap<MirrorId, String>,
}

impl Memory {
    /// The memory of a Root.
    pub fn new(plan: &Plan, root: &RootPlan) -> Self {
        let target = |mirror: &crate::types::plan::MirrorPlan| {
            let target = plan.hosts[&mirror.id.host].kind.target(&mirror.path);
            (mirror.id.clone(), target)
        };
        Self {
            directory: plan.state_dir.join("mirrors").join(root.id.as_str()),
            targets: root.mirrors.iter().map(target).collect(),
        }
    }

    /// Whether the last run, if there was any, ended with nothing under way. From now on this one has not.
    pub fn begin(&self) -> bool {
        let is_first = !self.directory.exists();
        // Where it can't be made, keeping something in it will say so.
        drop(std::fs::create_dir_all(&self.directory));
        std::fs::remove_file(self.directory.join(CLEAN)).is_ok() || is_first
    }

    /// Nothing is under way, and nothing will be.
    pub fn end(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        std::fs::write(self.directory.join(CLEAN), b"")
    }

    /// What is known of a mirror's directory.
    pub fn directory(&self, id: &MirrorId) -> Directory {
        let text = std::fs::read_to_string(self.directory.join(id.host.as_str()));
        match text.as_deref().unwrap_or_default().split_once('\n') {
            Some((directory, target)) if self.targets.get(id).is_some_and(|t| t == target) => {
                Directory::parse(directory)
            }
            _ => Directory::Unknown,
        }
    }

    /// Keeps it, whole or not at all.
    pub fn keep(&self, id: &MirrorId, directory: Directory) -> io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        let target = self.targets.get(id).map(String::as_str).unwrap_or_default();
        write!(file, "{}\n{target}", directory.name())?;
        file.persist(self.directory.join(id.host.as_str()))?;
        Ok(())
    }
}
