//! What outlives the daemon: a small file for each Mirror in the state directory.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::core::directory::Directory;
use crate::core::safety::Remembered;
use crate::types::ids::MirrorId;
use crate::types::plan::{Plan, RootPlan};

/// A file that is there after a run that ended in good order. No host's name begins with a dot.
const CLEAN: &str = ".clean";

/// Who the Root is, as JSON.
const ROOT: &str = ".root";

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

    /// Who the Root was; nothing where that is not known.
    pub fn root(&self) -> Remembered {
        let text = std::fs::read(self.directory.join(ROOT)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps who the Root is, whole or not at all.
    pub fn keep_root(&self, root: &Remembered) -> io::Result<()> {
        self.replace(ROOT, &serde_json::to_vec(root)?)
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
        let target = self.targets.get(id).map(String::as_str).unwrap_or_default();
        self.replace(id.host.as_str(), format!("{}\n{target}", directory.name()).as_bytes())
    }

    /// When a mirror was last checked, in seconds since 1970.
    pub fn last_check(&self, id: &MirrorId) -> Option<u64> {
        let text = std::fs::read_to_string(self.directory.join(check_name(id))).ok()?;
        text.trim().parse().ok()
    }

    /// Keeps that.
    pub fn keep_check(&self, id: &MirrorId, at: u64) -> io::Result<()> {
        self.replace(&check_name(id), at.to_string().as_bytes())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(bytes)?;
        file.persist(self.directory.join(name))?;
        Ok(())
    }
}

fn check_name(id: &MirrorId) -> String {
    format!(".checked.{}", id.host)
}
