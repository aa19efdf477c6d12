//! What a whole file system's events mean for a Root. No table is kept: each event names its directory by who it
//! is, so that the name which it has when the event is handled is the one to look at.

use crate::data::change::{Change, Kinds};
use crate::data::event::{EventMask, TreeEvent};
use crate::data::path::RelPath;
use crate::source::entry_count::Size;
use crate::source::filter::Filter;
use crate::source::watch_table::Effect;

/// What one event wants done, in this order.
pub fn effects(filter: &Filter, event: TreeEvent) -> Vec<Effect> {
    match event {
        TreeEvent::Entry(path, mask) => entry(filter, path, mask),
        TreeEvent::Root(mask) if mask.contains(EventMask::MOVE_SELF) => {
            vec![Effect::Lost("the source directory was moved")]
        }
        TreeEvent::Root(mask) if mask.contains(EventMask::DELETE_SELF) => {
            vec![Effect::Lost("the source directory went away")]
        }
        TreeEvent::Root(mask) if mask.contains(EventMask::ATTRIB) => {
            vec![changed(RelPath::root(), Kinds::ATTRS)]
        }
        TreeEvent::Root(_) | TreeEvent::Cookie(_) => Vec::new(),
        TreeEvent::Renamed { from, to, is_directory } => renamed(filter, from, to, is_directory),
        TreeEvent::Overflow => vec![Effect::Lost("the kernel's event queue overflowed")],
    }
}

fn entry(filter: &Filter, path: RelPath, mask: EventMask) -> Vec<Effect> {
    let is_directory = mask.contains(EventMask::ISDIR);
    if filter.excludes(&path, is_directory) {
        let names_changed = mask.intersects(EventMask::CREATE | EventMask::DELETE);
        return if names_changed { dates_its_parent(filter, &path) } else { Vec::new() };
    }
    let mut effects = Vec::new();
    let (came, went) = (mask.contains(EventMask::CREATE), mask.contains(EventMask::DELETE));
    if went {
        effects.push(Effect::Vanished { path: path.clone(), is_directory, is_renamed: false });
    }
    // Of events that were made one, others may have been of what had this name before, on the mirrors too.
    let is_new = mask - EventMask::ISDIR == EventMask::CREATE;
    match (came, is_directory) {
        (true, true) => {
            effects.push(Effect::Made(path.clone()));
            let came = if is_new { Kinds::CAME } else { Kinds::empty() };
            // Files in it may have the times of others that are still on a mirror.
            effects.push(changed(path.clone(), came | Kinds::CONTENT | Kinds::SUBTREE));
        }
        (true, false) if is_new => effects.push(Effect::Created(path.clone())),
        (true, false) => {
            effects.push(Effect::MovedIn(path.clone()));
            if !mask.intersects(EventMask::MODIFY | EventMask::CLOSE_WRITE) {
                effects.push(changed(path.clone(), Kinds::CONTENT));
            }
        }
        (false, _) => (),
    }
    if mask.contains(EventMask::ATTRIB) {
        effects.push(changed(path.clone(), Kinds::ATTRS));
    }
    if mask.contains(EventMask::CLOSE_WRITE) {
        effects.push(changed(path, Kinds::CONTENT));
    } else if mask.contains(EventMask::MODIFY) {
        effects.push(changed(path, Kinds::CONTENT | Kinds::OPEN));
    }
    effects
}

fn renamed(
    filter: &Filter,
    from: Option<RelPath>,
    to: Option<RelPath>,
    is_directory: bool,
) -> Vec<Effect> {
    let is_in = |path: &RelPath| !filter.excludes(path, is_directory);
    let outside = |path: &Option<RelPath>| path.clone().filter(|path| !is_in(path));
    let mut effects: Vec<Effect> = [outside(&from), outside(&to)]
        .iter()
        .flatten()
        .flat_map(|path| dates_its_parent(filter, path))
        .collect();
    let (from, to) = (from.filter(is_in), to.filter(is_in));
    if let (Some(from), Some(to)) = (&from, &to) {
        let size = if is_directory { Size::Unknown } else { Size::File };
        effects.push(Effect::Renamed(from.clone(), to.clone(), size));
    }
    let is_renamed = to.is_some();
    effects.extend(from.clone().map(|path| Effect::Vanished { path, is_directory, is_renamed }));
    let Some(path) = to else { return effects };
    if from.is_none() {
        let came = if is_directory { Effect::CameWhole } else { Effect::MovedIn };
        effects.push(came(path.clone()));
    }
    let subtree = if is_directory { Kinds::SUBTREE } else { Kinds::empty() };
    let kinds = Kinds::CONTENT | subtree;
    // Events that were made one don't tell what came before the rename.
    effects.push(Effect::Changed(Change { path, kinds, moved_from: from, is_late: true }));
    effects
}

/// What is kept out still changes the times of the directory around it.
fn dates_its_parent(filter: &Filter, path: &RelPath) -> Vec<Effect> {
    let parent = path.parent().filter(|parent| !filter.excludes(parent, true));
    parent.map(|parent| changed(parent, Kinds::ATTRS)).into_iter().collect()
}

fn changed(path: RelPath, kinds: Kinds) -> Effect {
    Effect::Changed(Change::new(path, kinds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::plan::Rule;

    fn said(rules: &[Rule], event: TreeEvent) -> Vec<String> {
        let filter = Filter::new(rules).unwrap();
        let line = |effect| match effect {
            Effect::Changed(Change { path, kinds, moved_from, .. }) => {
                let from = moved_from.map(|from| format!("{from} > ")).unwrap_or_default();
                format!("{from}{path} {kinds:?}").replace("Kinds(", "").replace(')', "")
            }
            other => format!("{other:?}").replace("RelPath", ""),
        };
        effects(&filter, event).into_iter().map(line).collect()
    }

    fn entry(path: &str, mask: EventMask) -> TreeEvent {
        TreeEvent::Entry(path.into(), mask)
    }

    #[test]
    fn events_that_were_made_one_are_all_told() {
        let mask = EventMask::CREATE | EventMask::DELETE | EventMask::CLOSE_WRITE;
        assert_eq!(said(&[], entry("d/f", mask)).len(), 3);
        let log = said(&[], entry("d", EventMask::CREATE | EventMask::ISDIR));
        assert_eq!(log, ["Made(d)", "d CONTENT | CAME | SUBTREE"]);
        assert_eq!(said(&[], entry("f", EventMask::MODIFY)), ["f CONTENT | OPEN"]);
    }

    #[test]
    fn only_a_coming_alone_begins_a_name_that_no_mirror_has() {
        // `chmod f; mv f g; touch f`: the attributes were those of what is now called g.
        let came = |mask: EventMask| format!("{:?}", said(&[], entry("f", mask)));
        assert!(came(EventMask::CREATE).contains("Created"));
        for other in [EventMask::ATTRIB, EventMask::MODIFY, EventMask::CLOSE_WRITE] {
            let said = came(EventMask::CREATE | other);
            assert!(!said.contains("Created") && said.contains("f CONTENT"), "{said}");
        }
        let directory = EventMask::CREATE | EventMask::ATTRIB | EventMask::ISDIR;
        assert!(!came(directory).contains("CAME"));
    }

    #[test]
    fn a_rename_is_both_names_and_never_exact() {
        let event = |from: Option<&str>, to: Option<&str>| TreeEvent::Renamed {
            from: from.map(Into::into),
            to: to.map(Into::into),
            is_directory: true,
        };
        let log = said(&[], event(Some("a"), Some("b")));
        assert_eq!(log[2], "a > b CONTENT | SUBTREE");
        assert_eq!(log.len(), 3);
        assert_eq!(said(&[], event(Some("a"), None)).len(), 1, "it went away");
        assert_eq!(said(&[], event(None, Some("b"))).last().unwrap(), "b CONTENT | SUBTREE");
        let rules = [Rule::Exclude(b"*.off".to_vec())];
        let log = said(&rules, event(Some("d/a"), Some("d/a.off")));
        assert_eq!(log[0], "d ATTRS");
        assert_eq!(log.len(), 2);
    }

    #[test]
    fn what_is_kept_out_dates_the_directory_around_it() {
        let rules = [Rule::Exclude(b"/cache".to_vec())];
        assert_eq!(said(&rules, entry("cache/x", EventMask::CREATE)), [""; 0]);
        assert_eq!(said(&rules, entry("cache", EventMask::DELETE | EventMask::ISDIR)), [". ATTRS"]);
    }
}
