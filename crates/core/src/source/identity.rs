//! Whether the source is still who it was. Nothing leaves a Root that is not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::absent_volumes::AbsentVolumes;
use crate::data::name::unescape;
use crate::data::path::RelPath;
use crate::data::source_dir::{Identity, Lasting, Volume};

/// What is known of a Root: who it is, and which volumes are mounted below it. Who it is, is what was
/// watched first, in this run or an earlier one; another directory at its path is never taken for it.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    root: Option<Identity>,
    /// As an earlier run knew it.
    lasting: Option<Lasting>,
    /// Which is mounted at each; none where only an earlier run has seen one.
    volumes: BTreeMap<RelPath, Option<Volume>>,
    /// Seen while the tree is explored, before it is known whether it is the Root's.
    exploring: Vec<(RelPath, Volume)>,
    is_watched: bool,
}

/// What outlives the daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// Who the Root is.
    pub root: Option<Lasting>,
    /// Where volumes are mounted below it, escaped.
    pub volumes: Vec<String>,
}

/// What was found now.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// Who the Root's path leads to; none if it leads nowhere.
    pub root: Option<Identity>,
    /// The same for good; only of use while it has not been taken for the Root in this run.
    pub lasting: Option<Lasting>,
    /// Whether the marker is in it, where one is demanded.
    pub is_marked: bool,
    /// What was found at each of [`Guard::volumes`] that answer, none where there is no directory.
    pub volumes: Vec<(RelPath, Option<Volume>)>,
    /// The volumes that do not answer, known or not.
    pub unresponsive: Vec<RelPath>,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It is who it was; nothing at or below these directories may be touched on mirrors.
    Same(AbsentVolumes),
    /// It is not: nothing may leave it.
    Gone(String),
}

impl Guard {
    /// An earlier run knew this. What can't be read is of no consequence.
    pub fn new(remembered: &Remembered) -> Self {
        let volumes = remembered.volumes.iter();
        let volumes = volumes.filter_map(|path| RelPath::parse(&unescape(path)).ok());
        Self {
            lasting: remembered.root,
            volumes: volumes.map(|path| (path, None)).collect(),
            ..Self::default()
        }
    }

    /// Whether a directory was taken for the Root in this run.
    pub fn knows_root(&self) -> bool {
        self.root.is_some()
    }

    /// For the next run.
    pub fn remember(&self) -> Remembered {
        let volumes = self.volumes.keys().map(ToString::to_string).collect();
        Remembered { root: self.lasting, volumes }
    }

    /// A directory below was seen on a device of its own. One that is mounted where another was is not
    /// taken for it.
    pub fn handle_volume(&mut self, path: RelPath, volume: Volume) {
        if self.is_watched {
            self.volumes.entry(path).or_default().get_or_insert(volume);
        } else {
            self.exploring.push((path, volume));
        }
    }

    /// What was explored so far is void.
    pub fn handle_watch_lost(&mut self) {
        self.exploring.clear();
        self.is_watched = false;
    }

    /// All of this directory is watched. Returns whether it is the Root, so that it may be pushed.
    pub fn handle_watching(&mut self, found: Identity, lasting: Option<Lasting>) -> bool {
        let explored = std::mem::take(&mut self.exploring);
        let is_another = match (self.root, self.lasting, lasting) {
            (Some(root), ..) => root != found,
            (None, Some(known), Some(found)) => !known.is_same(found),
            (None, ..) => false,
        };
        if is_another {
            return false;
        }
        self.root = Some(found);
        self.lasting = lasting.or(self.lasting);
        self.is_watched = true;
        explored.into_iter().for_each(|(path, volume)| self.handle_volume(path, volume));
        true
    }

    /// A person says that these volumes may be gone, or be other ones.
    pub fn forget_volumes(&mut self, paths: &[RelPath]) {
        self.volumes.retain(|path, _| !paths.contains(path));
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
            let is_back = |(known, found): (Lasting, Lasting)| known.is_same(found);
            return match self.lasting.zip(sighting.lasting) {
                Some(both) if is_back(both) && sighting.is_marked => {
                    Judgement::Same(AbsentVolumes::default())
                }
                _ => Judgement::Gone(ANOTHER.into()),
            };
        };
        match sighting.root {
            None => return Judgement::Gone("The source directory is not there".into()),
            Some(found) if found.device != known.device => {
                return Judgement::Gone(
                    "Another file system is mounted at the source, or its own was unmounted".into(),
                );
            }
            Some(found) if found != known => {
                return Judgement::Gone(ANOTHER.into());
            }
            Some(_) if !sighting.is_marked => {
                return Judgement::Gone("The marker file is not in the source".into());
            }
            Some(_) => (),
        }
        let is_there = |path: &RelPath, found: Option<Volume>| match self.volumes.get(path) {
            Some(Some(volume)) => found == Some(*volume),
            // Any volume: devices have other numbers in each run of the machine.
            Some(None) => found.is_some_and(|volume| volume.device != known.device),
            None => true,
        };
        let unmounted = sighting
            .volumes
            .iter()
            .filter(|(path, found)| !is_there(path, *found))
            .map(|(path, _)| path.clone());
        let unmounted = unmounted.collect();
        Judgement::Same(AbsentVolumes { unmounted, unresponsive: sighting.unresponsive.clone() })
    }
}

/// Why a Root is halted that is not who it was.
pub const ANOTHER: &str = "The source is another directory than the one that was mirrored";

#[cfg(test)]
mod tests {
    use super::*;

    fn on(device: u64) -> Volume {
        Volume { device, file_system: device }
    }

    const ROOT: Identity = Identity { device: 1, inode: 2 };

    fn judge(root: Option<Identity>, volume: Option<u64>) -> Judgement {
        let mut guard = Guard::default();
        guard.handle_volume("vol".into(), on(7));
        assert!(guard.handle_watching(ROOT, None));
        guard.judge(&Sighting {
            root,
            lasting: None,
            is_marked: true,
            volumes: vec![("vol".into(), volume.map(on))],
            unresponsive: Vec::new(),
        })
    }

    fn unmounted(volumes: &[&str]) -> Judgement {
        let unmounted = volumes.iter().map(|it| (*it).into()).collect();
        Judgement::Same(AbsentVolumes { unmounted, ..AbsentVolumes::default() })
    }

    #[test]
    fn hard_case_8_a_root_that_is_not_who_it_was_sends_nothing() {
        assert_eq!(judge(Some(ROOT), Some(7)), unmounted(&[]));
        let others =
            [None, Some(Identity { inode: 3, ..ROOT }), Some(Identity { device: 9, ..ROOT })];
        for other in others {
            assert!(matches!(judge(other, Some(7)), Judgement::Gone(_)), "{other:?}");
        }
    }

    #[test]
    fn hard_case_8_a_volume_that_is_not_mounted_is_held() {
        assert_eq!(judge(Some(ROOT), Some(1)), unmounted(&["vol"]));
        assert_eq!(judge(Some(ROOT), None), unmounted(&["vol"]));
        let mut guard = Guard::default();
        guard.handle_volume("vol".into(), Volume { device: 7, file_system: 1 });
        assert!(guard.handle_watching(ROOT, None));
        let volumes = vec![("vol".into(), Some(Volume { device: 7, file_system: 2 }))];
        let sighting = Sighting {
            root: Some(ROOT),
            lasting: None,
            is_marked: true,
            volumes,
            unresponsive: Vec::new(),
        };
        let held = unmounted(&["vol"]);
        assert_eq!(guard.judge(&sighting), held, "numbers are used again");
    }

    #[test]
    fn hard_case_8_another_directory_at_the_roots_place_is_never_taken_for_it() {
        let mut guard = Guard::default();
        assert!(guard.handle_watching(ROOT, None));
        guard.handle_watch_lost();
        guard.handle_volume("other".into(), on(7));
        assert!(!guard.handle_watching(Identity { inode: 3, ..ROOT }, None));
        assert_eq!(guard.volumes().count(), 0);
        assert!(guard.handle_watching(ROOT, None));
    }

    fn born(born: Option<i64>, inode: u64, file_system: u64) -> Lasting {
        Lasting { inode, born, file_system }
    }

    #[test]
    fn hard_case_8_a_root_that_is_another_one_than_in_the_last_run_sends_nothing() {
        let taken = |known, found| {
            let remembered = Remembered { root: Some(known), volumes: Vec::new() };
            Guard::new(&remembered).handle_watching(ROOT, Some(found))
        };
        let known = born(Some(5), 2, 1);
        assert!(taken(known, born(Some(5), 2, 9)), "devices are numbered anew");
        let remembered = Remembered { root: Some(known), volumes: Vec::new() };
        let judge = |lasting| {
            let sighting = Sighting {
                root: Some(ROOT),
                lasting,
                is_marked: true,
                volumes: Vec::new(),
                unresponsive: Vec::new(),
            };
            Guard::new(&remembered).judge(&sighting)
        };
        assert_eq!(judge(Some(known)), unmounted(&[]), "it is back");
        assert!(matches!(judge(Some(born(Some(6), 2, 1))), Judgement::Gone(_)));
        assert!(!taken(known, born(Some(6), 2, 1)) && !taken(known, born(Some(5), 3, 1)));
        let unborn = born(None, 2, 1);
        assert!(taken(unborn, unborn) && !taken(unborn, born(None, 2, 9)));
    }

    #[test]
    fn hard_case_8_a_volume_that_only_the_last_run_has_seen_is_held_until_one_is_mounted() {
        let mut guard = Guard::default();
        guard.handle_volume("vol".into(), on(7));
        assert!(guard.handle_watching(ROOT, Some(born(None, 2, 1))));
        let mut guard = Guard::new(&guard.remember());
        assert!(guard.handle_watching(ROOT, Some(born(None, 2, 1))));
        let judge = |guard: &Guard, device| {
            let volumes = vec![("vol".into(), Some(on(device)))];
            guard.judge(&Sighting {
                root: Some(ROOT),
                lasting: None,
                is_marked: true,
                volumes,
                unresponsive: Vec::new(),
            })
        };
        assert_eq!(judge(&guard, ROOT.device), unmounted(&["vol"]));
        assert_eq!(judge(&guard, 9), unmounted(&[]));
        guard.handle_volume("vol".into(), on(9));
        assert_eq!(judge(&guard, 8), unmounted(&["vol"]), "another one");
        guard.forget_volumes(&["vol".into()]);
        assert_eq!(guard.volumes().count(), 0);
    }
}
