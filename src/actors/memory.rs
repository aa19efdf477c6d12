//! What outlives the daemon: small files in the state directory, for each Mirror and each host.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mirrorball_core::data::ids::{HostId, MirrorId};
use mirrorball_core::data::outcome::{Capability, RemoteEnd};
use mirrorball_core::data::plan::{Plan, RootPlan};
use mirrorball_core::host::target_state::TargetState;
use mirrorball_core::root::deletions::{Durability, KeptAccount};
use mirrorball_core::source::identity::Remembered;

/// A file that is there after a run that ended in good order. No host's name begins with a dot.
const CLEAN: &str = ".clean";

/// Who the Root is, as JSON.
const ROOT: &str = ".root";

/// The deletion account, as JSON.
const ACCOUNT: &str = ".account";

/// The Mirrors of one Root, as the last run left them. What is there for another target, or can't be
/// read, counts as nothing.
pub struct Memory {
    directory: PathBuf,
    targets: BTreeMap<MirrorId, String>,
}

impl Memory {
    /// The memory of a Root.
    pub fn new(plan: &Plan, root: &RootPlan) -> Self {
        let target = |mirror: &mirrorball_core::data::plan::MirrorPlan| {
            let target = plan.hosts[&mirror.id.host].kind.place(&mirror.path);
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
        let was_clean = std::fs::remove_file(self.directory.join(CLEAN)).is_ok();
        // Should the machine go down, it must not be there again.
        let is_gone = std::fs::File::open(&self.directory).and_then(|it| it.sync_all()).is_ok();
        (was_clean && is_gone) || is_first
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

    /// The deletion account; an empty one where none was kept.
    pub fn account(&self) -> KeptAccount {
        let text = std::fs::read(self.directory.join(ACCOUNT)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Keeps it, whole or not at all; on the disk and not only in its caches, where that is asked for.
    pub fn keep_account(&self, account: &KeptAccount, durability: Durability) -> io::Result<()> {
        let text = serde_json::to_vec(account)?;
        match durability {
            Durability::Written => self.replace(ACCOUNT, &text),
            Durability::Synced => {
                // Contents before the name, or a crash may leave the name without them.
                let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
                file.write_all(&text)?;
                file.as_file().sync_all()?;
                file.persist(self.directory.join(ACCOUNT))?;
                std::fs::File::open(&self.directory)?.sync_all()
            }
        }
    }

    /// What is known of a mirror's directory.
    pub fn directory(&self, id: &MirrorId) -> TargetState {
        let text = std::fs::read_to_string(self.directory.join(id.host.as_str()));
        match text.as_deref().unwrap_or_default().split_once('\n') {
            Some((directory, target)) if self.targets.get(id).is_some_and(|t| t == target) => {
                TargetState::parse(directory)
            }
            _ => TargetState::Unknown,
        }
    }

    /// Keeps it, whole or not at all.
    pub fn keep(&self, id: &MirrorId, directory: TargetState) -> io::Result<()> {
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
        replace(&self.directory.join(name), bytes)
    }
}

fn check_name(id: &MirrorId) -> String {
    format!(".checked.{}", id.host)
}

/// What is known of a host's rsync: a file with the protocol and then what it lacks, a line each.
pub struct HostMemory(PathBuf);

impl HostMemory {
    /// The memory of a host.
    pub fn new(plan: &Plan, host: &HostId) -> Self {
        Self(plan.state_dir.join("hosts").join(host.as_str()))
    }

    /// What an earlier run knew; nothing where that can't be read.
    pub fn load(&self) -> RemoteEnd {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let mut lines = text.lines();
        let protocol = lines.next().and_then(|number| number.parse().ok());
        RemoteEnd { protocol, lacks: lines.filter_map(Capability::parse).collect() }
    }

    /// Keeps it, whole or not at all.
    pub fn keep(&self, end: &RemoteEnd) -> io::Result<()> {
        let protocol = end.protocol.map(|protocol| protocol.to_string()).unwrap_or_default();
        let lacks = end.lacks.iter().map(|capability| capability.name().to_string());
        let lines: Vec<String> = std::iter::once(protocol).chain(lacks).collect();
        replace(&self.0, lines.join("\n").as_bytes())
    }
}

/// Whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
