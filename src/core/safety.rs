//! Whether the source is still who it was. Nothing leaves a Root that is not.

use std::collections::BTreeMap;

use crate::types::rel_path::RelPath;
use crate::types::source_dir::Identity;

/// What is known of a Root: who it is, and which volumes are mounted below it. Who it is, is what was
/// watched first; another directory at its path is never taken for it.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    root: Option<Identity>,
    volumes: BTreeMap<RelPath, u64>,
    /// Seen while the tree is explored, before it is known whether it is the Root's.
    exploring: Vec<(RelPath, u64)>,
}

/// What was found now.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// Who the Root's path leads to; none if it leads nowhere.
    pub root: Option<Identity>,
    /// Whether the marker is in it, where one is demanded.
    pub is_marked: bool,
    /// The device found at each of [`Guard::volumes`], none where there is no directory.
    pub volumes: Vec<(RelPath, Option<u64>)>,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is who it was; nothing at or below these directories may be touched on mirrors.
    Same(Vec<RelPath>),
    /// It is not: nothing may leave it.
    Gone(String),
}

impl Guard {
    /// A directory below was seen on a device of its own.
    pub fn handle_volume(&mut self, path: RelPath, device: u64) {
        self.exploring.push((path, device));
    }

    /// What was explored so far is void.
    pub fn handle_watch_lost(&mut self) {
        self.exploring.clear();
    }

    /// All of this directory is watched. Returns whether it is the Root, so that it may be pushed.
    pub fn handle_watching(&mut self, found: Identity) -> bool {
        if *self.root.get_or_insert(found) != found {
            self.exploring.clear();
            return false;
        }
        self.volumes.extend(self.exploring.drain(..));
        true
    }

    /// Whether a volume that is mounted here was never seen.
    pub fn is_unknown_volume(&self, path: &RelPath) -> bool {
        !self.volumes.contains_key(path) && !self.exploring.iter().any(|(known, _)| known == path)
    }

    /// The directories to look at for a [`Sighting`].
    pub fn volumes(&self) -> impl Iterator<Item = &RelPath> {
        self.volumes.keys()
    }

    /// Compares what was found with what is known.
    pub fn judge(&self, sighting: &Sighting) -> Judgement {
        let Some(known) = self.root else {
            return Judgement::Gone("The source was never watched".into());
        };
        match sighting.root {
            None => return Judgement::Gone("The source directory is not there".into()),
            Some(found) if found.device != known.device => {
                return Judgement::Gone(
                    "Another file system is mounted at the source, or its own was unmounted".into(),
                );
            }
            Some(found) if found != known => {
                return Judgement::Gone(
                    "The source is another directory than the one that was watched".into(),
                );
            }
            Some(_) if !sighting.is_marked => {
                return Judgement::Gone("The marker file is not in the source".into());
            }
            Some(_) => (),
        }
        let unmounted = sighting
            .volumes
            .iter()
            .filter(|(path, found)| self.volumes.get(path).copied() != *found)
            .map(|(path, _)| path.clone());
        Judgement::Same(unmounted.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Identity = Identity { device: 1, inode: 2 };

    fn judge(root: Option<Identity>, volume: Option<u64>) -> Judgement {
        let mut guard = Guard::default();
        guard.handle_volume("vol".into(), 7);
        assert!(guard.handle_watching(ROOT));
        guard.judge(&Sighting { root, is_marked: true, volumes: vec![("vol".into(), volume)] })
    }

    #[test]
    fn hard_case_8_a_root_that_is_not_who_it_was_sends_nothing() {
        assert_eq!(judge(Some(ROOT), Some(7)), Judgement::Same(vec![]));
        let others =
            [None, Some(Identity { inode: 3, ..ROOT }), Some(Identity { device: 9, ..ROOT })];
        for other in others {
            assert!(matches!(judge(other, Some(7)), Judgement::Gone(_)), "{other:?}");
        }
    }

    #[test]
    fn hard_case_8_a_volume_that_is_not_mounted_is_held() {
        assert_eq!(judge(Some(ROOT), Some(1)), Judgement::Same(vec!["vol".into()]));
        assert_eq!(judge(Some(ROOT), None), Judgement::Same(vec!["vol".into()]));
    }

    #[test]
    fn hard_case_8_another_directory_at_the_roots_place_is_never_taken_for_it() {
        let mut guard = Guard::default();
        assert!(guard.handle_watching(ROOT));
        guard.handle_watch_lost();
        guard.handle_volume("other".into(), 7);
        assert!(!guard.handle_watching(Identity { inode: 3, ..ROOT }));
        assert_eq!(guard.volumes().count(), 0);
        assert!(guard.handle_watching(ROOT));
    }
}
