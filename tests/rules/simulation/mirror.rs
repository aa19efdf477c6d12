//! A pretended mirror, and an rsync that brings a step to it, or fails to.

use std::collections::{BTreeMap, BTreeSet};

use mirrorball_core::data::batch::Rename;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::step::{Basis, Deletions, Exit, Step, StepEnd, StepKind};

use super::Random;
use crate::simulation::tree::{Node, Source, Tree, below};

/// Set in the contents of what users of a mirror made.
const FOREIGN: u64 = 1 << 63;

/// What went wrong in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Nobody listens at the other end.
    Refused,
    /// It broke off in the middle, by this code or by a signal.
    CutOff(Exit),
    /// Something failed that nobody can attribute.
    Odd,
    /// There is no room for more.
    Full,
}

/// A directory on another machine.
#[derive(Default)]
pub struct Mirror {
    pub exists: bool,
    pub tree: Tree,
    /// Names of one file each.
    shared: Vec<(RelPath, RelPath)>,
    /// Nothing can be written there.
    pub denied: Option<RelPath>,
    /// What is on its disk, while that is not mounted.
    unmounted: Option<Tree>,
    /// What its users made, and the source never had since.
    foreign: BTreeSet<RelPath>,
}

/// What an rsync saw when it listed the source.
pub struct Listing {
    entries: BTreeMap<RelPath, Node>,
    unreadable: Vec<RelPath>,
    /// Listed by name, where nothing can be looked at.
    hidden: Vec<RelPath>,
}

/// The first half of a run.
pub fn list(source: &Source, step: &Step) -> Listing {
    if let Some(renamed) = &step.renamed {
        return list_renamed(source, &renamed.rename);
    }
    let mut entries = BTreeMap::new();
    let mut unreadable = Vec::new();
    let is_recursive = !matches!(step.kind, StepKind::Written | StepKind::Touched);
    let hidden =
        |path: &RelPath| source.unreadable.as_ref().is_some_and(|hidden| path.is_below(hidden));
    let mut take = |path: &RelPath| {
        if let Some(node) = source.tree.get(path).filter(|_| !hidden(path) && !is_held(step, path))
        {
            entries.insert(path.clone(), *node);
        }
    };
    let roots = match step.kind {
        // Filtered, so that it brings nothing along.
        StepKind::RootItself | StepKind::Look => Vec::new(),
        _ if step.paths.is_empty() => vec![RelPath::root()],
        _ => step.paths.clone(),
    };
    let hidden_names = roots.iter().filter(|path| hidden(path)).cloned().collect();
    for path in roots {
        take(&path);
        // Implied directories come along.
        path.ancestors().filter(|above| !above.is_root()).for_each(|above| take(&above));
        if step.is_shallow && source.is_directory(&path) {
            let children = below(&source.tree, &path);
            children.iter().filter(|it| it.parent().as_ref() == Some(&path)).for_each(&mut take);
            unreadable.extend(source.unreadable.iter().filter(|hidden| **hidden == path).cloned());
        } else if is_recursive && source.is_directory(&path) {
            below(&source.tree, &path).iter().for_each(&mut take);
            let seen =
                |hidden: &&RelPath| path.is_root() || **hidden == path || hidden.is_below(&path);
            unreadable.extend(
                source.unreadable.iter().filter(|h| source.is_directory(h)).filter(seen).cloned(),
            );
        }
    }
    Listing { entries, unreadable, hidden: hidden_names }
}

/// Whether a rule keeps a run from this path.
fn is_held(step: &Step, path: &RelPath) -> bool {
    step.held.iter().any(|held| path == held || path.is_below(held))
}

fn list_renamed(source: &Source, rename: &Rename) -> Listing {
    let mut listing =
        Listing { entries: BTreeMap::new(), unreadable: Vec::new(), hidden: Vec::new() };
    let is_hidden =
        |path: &RelPath| source.unreadable.as_ref().is_some_and(|hidden| path.is_below(hidden));
    for path in rename.files.iter().filter_map(|file| file.rebased(&RelPath::root(), &rename.to)) {
        let Some(node) = source.tree.get(&path) else { continue };
        if is_hidden(&path) {
            listing.hidden.push(path);
            continue;
        }
        for above in path.ancestors().filter(|above| above.is_below(&rename.to)) {
            listing.entries.insert(above, Node::Directory);
        }
        listing.entries.insert(path, *node);
    }
    listing
}

impl Mirror {
    pub fn is_unmounted(&self) -> bool {
        self.unmounted.is_some()
    }

    /// Where an old receiver still writes, mounted or not.
    pub fn disk(&mut self) -> &mut Tree {
        self.unmounted.as_mut().unwrap_or(&mut self.tree)
    }

    pub fn unmount(&mut self) {
        if self.exists && self.unmounted.is_none() {
            self.unmounted = Some(std::mem::take(&mut self.tree));
            self.exists = false;
        }
    }

    pub fn mount(&mut self) {
        if let Some(tree) = self.unmounted.take() {
            assert!(self.tree.is_empty(), "something was put where the disk is not mounted");
            self.tree = tree;
            self.exists = true;
        }
    }

    /// Whether it holds what the source holds, and else nothing but what its users made.
    pub fn equals(&self, source: &Source) -> bool {
        let is_own =
            |path: &RelPath| source.tree.contains_key(path) || !self.foreign.contains(path);
        self.tree.iter().filter(|(path, _)| is_own(path)).eq(&source.tree)
    }

    /// The source has these names: they are not its users' any more.
    pub fn forget_foreign(&mut self, source: &Source) {
        self.foreign.retain(|path| !source.tree.contains_key(path));
    }

    /// A user of the mirror makes a file of their own in one of its directories, or a directory with some, which may
    /// have a name that the source uses.
    pub fn write_foreign(&mut self, source: &Source, random: &mut Random) {
        let is_directory = |path: &&RelPath| self.tree.get(*path) == Some(&Node::Directory);
        let directories: Vec<RelPath> = self.tree.keys().filter(is_directory).cloned().collect();
        let at = random.below(directories.len() as u64 + 1) as usize;
        let place = directories.get(at).cloned().unwrap_or_else(RelPath::root);
        let (first, is_file) =
            if random.one_in(2) { (b'a', false) } else { (b'x', random.one_in(2)) };
        let name = place.join(&[first + random.below(3) as u8]);
        if !self.exists || self.tree.contains_key(&name) {
            return;
        }
        let inside = if is_file { 0 } else { random.below(12) };
        let inside: Vec<RelPath> =
            (0..inside).map(|number| name.join(format!("f{number}").as_bytes())).collect();
        for path in inside.iter().chain([&name]) {
            let content = random.next() | FOREIGN;
            self.tree.insert(path.clone(), Node::File { content, stamp: content, mode: 0 });
            self.foreign.insert(path.clone());
        }
        if !is_file {
            self.tree.insert(name, Node::Directory);
        }
        self.forget_foreign(source);
    }

    /// The second half of a run. Contents are read now, whatever the listing says of their times.
    pub fn apply(
        &mut self,
        source: &Source,
        step: &Step,
        listing: &Listing,
        fault: Fault,
        random: &mut Random,
    ) -> StepEnd {
        let mut run = Run {
            messages: String::new(),
            failed: false,
            created: Vec::new(),
            left: 0,
            skipped: 0,
            taken_over: 0,
            extras: Vec::new(),
        };
        let code = self.run(source, step, listing, fault, random, &mut run);
        if run.skipped > 0 {
            run.messages +=
                &format!("Deletions stopped due to --max-delete limit ({} skipped)\n", run.skipped);
        }
        let exit = match code {
            Exit::Code(0) if run.failed => Exit::Code(23),
            Exit::Code(0) if run.skipped > 0 => Exit::Code(25),
            other => other,
        };
        StepEnd {
            messages: run.messages.into_bytes(),
            created_directories: run.created,
            extras: run.extras,
            entries_found: self.tree.len() as u64,
            taken_over: run.taken_over,
            prefixes: vec![b"/src".to_vec()],
            ..StepEnd::new(exit)
        }
    }

    fn run(
        &mut self,
        source: &Source,
        step: &Step,
        listing: &Listing,
        fault: Fault,
        random: &mut Random,
        run: &mut Run,
    ) -> Exit {
        if fault == Fault::Refused {
            run.messages += "rsync: [sender] failed to connect: Connection refused (111)\n";
            return Exit::Code(10);
        }
        if step.kind == StepKind::Leftovers {
            // There are no temporary files here.
            return if let Fault::CutOff(exit) = fault { exit } else { Exit::Code(0) };
        }
        if step.kind == StepKind::FirstContact {
            assert!(!self.is_unmounted(), "made where the disk is not mounted");
            self.exists = true;
            return Exit::Code(0);
        }
        if !self.exists {
            run.messages +=
                "rsync: [receiver] change_dir \"/m\" failed: No such file or directory (2)\n";
            return Exit::Code(11);
        }
        let filled = step.renamed.as_ref().map(|it| &it.rename.to).filter(|to| !to.is_root());
        if filled.is_some_and(|to| self.tree.get(to) != Some(&Node::Directory)) {
            run.messages +=
                "rsync: [Receiver] change_dir \"/m/x\" failed: No such file or directory (2)\n";
            return Exit::Code(11);
        }
        run.left = match step.deletions {
            Deletions::None => 0,
            Deletions::AtMost(most) => most,
            Deletions::All => u64::MAX,
        };
        let deletes = step.deletions != Deletions::None;
        let mut actions: Vec<Action> =
            listing.entries.keys().map(|p| Action::Send(p.clone())).collect();
        if step.kind == StepKind::Extras {
            // It says what it would do.
            actions.clear();
        }
        for path in &listing.unreadable {
            run.say(&format!(
                "rsync: [sender] opendir \"/src/{path}\" failed: Permission denied (13)"
            ));
        }
        for path in &listing.hidden {
            run.say(&format!(
                "rsync: [sender] link_stat \"/src/{path}\" failed: Permission denied (13)"
            ));
        }
        if step.kind == StepKind::Extras
            && listing.unreadable.is_empty()
            && listing.hidden.is_empty()
        {
            run.extras = self.extraneous(step, listing);
        } else if deletes && listing.unreadable.is_empty() && listing.hidden.is_empty() {
            actions.extend(self.extraneous(step, listing).into_iter().map(Action::Delete));
        } else if deletes {
            run.say("IO error encountered -- skipping file deletion");
        }
        let cut = random.below(actions.len() as u64 + 1) as usize;
        for (index, action) in actions.into_iter().enumerate() {
            match fault {
                Fault::CutOff(exit) if index >= cut => return exit,
                Fault::Odd if index == cut => {
                    run.say("rsync: something odd happened");
                    continue;
                }
                Fault::Full if index >= cut && matches!(action, Action::Send(_)) => {
                    run.messages +=
                        "rsync: [receiver] write failed: No space left on device (28)\n";
                    return Exit::Code(11);
                }
                _ => (),
            }
            match action {
                Action::Send(path) => self.send(source, step, listing, &path, random, run),
                Action::Delete(path) => self.delete(&path, run),
            }
        }
        if let Fault::CutOff(exit) = fault { exit } else { Exit::Code(0) }
    }

    /// What a deleting run finds too much, deepest first.
    fn extraneous(&self, step: &Step, listing: &Listing) -> Vec<RelPath> {
        let is_listed_directory =
            |path: &RelPath| path.is_root() || listing.entries.get(path) == Some(&Node::Directory);
        let covers = |top: &RelPath, path: &RelPath| match step.kind {
            // A listed entry whose directory is gone too is left alone.
            StepKind::Missing | StepKind::Extras
                if !listing.entries.contains_key(top) && !top.is_root() =>
            {
                top.parent().is_some_and(|parent| is_listed_directory(&parent))
                    && (path == top || path.is_below(top))
            }
            _ if step.is_shallow => {
                let mut names = path.ancestors().chain([path.clone()]);
                let child = names.find(|it| it.parent().as_ref() == Some(top));
                let is_gone = child.is_some_and(|child| !listing.entries.contains_key(&child));
                is_listed_directory(top) && is_gone
            }
            _ => is_listed_directory(top) && path.is_below(top),
        };
        let inside = |path: &RelPath| match step.kind {
            _ if step.paths.is_empty() => true,
            StepKind::Written | StepKind::Touched => false,
            _ => step.paths.iter().any(|top| covers(top, path)),
        };
        let paths = self.tree.keys().rev();
        let is_too_much = |path: &&RelPath| {
            inside(path) && !listing.entries.contains_key(*path) && !is_held(step, path)
        };
        paths.filter(is_too_much).cloned().collect()
    }

    fn send(
        &mut self,
        source: &Source,
        step: &Step,
        listing: &Listing,
        path: &RelPath,
        random: &mut Random,
        run: &mut Run,
    ) {
        let listed = listing.entries[path];
        if let Some(above) = path.parent().filter(|above| !above.is_root())
            && self.tree.get(&above) != Some(&Node::Directory)
        {
            // An implied directory failed before.
            return run.fail(path, "mkstemp");
        }
        let denied = self.denied.as_ref().is_some_and(|d| path == d || path.is_below(d));
        if listed == Node::Directory {
            if self.tree.get(path) != Some(&Node::Directory) {
                if denied {
                    return run.fail(path, "mkdir");
                }
                self.tree.insert(path.clone(), Node::Directory);
                run.created.push(path.clone());
            }
            return;
        }
        let Node::File { stamp, mode, .. } = listed else { return };
        let Node::File { content: listed_content, .. } = listed else { return };
        let content = match source.tree.get(path) {
            // Opened long ago, and brought whatever has become of the name.
            _ if random.one_in(4) => listed_content,
            Some(Node::File { content, .. }) => *content,
            // Gone since is "vanished", which is no failure.
            _ => return,
        };
        let by_content = step.renamed.as_ref().is_some_and(|it| it.by_content);
        let force = match &step.renamed {
            Some(renamed) => renamed.basis == Basis::Similar,
            None => matches!(
                step.kind,
                StepKind::Written
                    | StepKind::SubtreesWritten
                    | StepKind::Check
                    | StepKind::Resend
                    | StepKind::Replace
                    | StepKind::Missing
                    | StepKind::MissingByFilter
            ),
        };
        let is_same = |content: u64, old: u64| match by_content {
            true => content == listed_content,
            false => old == stamp,
        };
        let sent = Node::File { content, stamp, mode };
        let there = self.tree.get(path).copied();
        match there {
            Some(Node::File { content: old, stamp: old_stamp, .. })
                if !force && is_same(old, old_stamp) =>
            {
                let node = Node::File { content: old, stamp, mode };
                self.tree.insert(path.clone(), node);
                for other in self.names_of(path) {
                    self.tree.insert(other, node);
                }
            }
            _ if denied => run.fail(path, "mkstemp"),
            _ if let Some((
                old_name,
                Node::File { content: old, stamp: old_stamp, mode: old_mode },
            )) = self.old_name(step, path)
                && !force
                && is_same(old, old_stamp)
                && there != Some(Node::Directory) =>
            {
                self.part(path);
                run.taken_over += 1;
                self.tree.insert(path.clone(), Node::File { content: old, stamp, mode });
                let is_linked = step.renamed.as_ref().is_some_and(|it| it.basis == Basis::Linked);
                if is_linked && old_stamp == stamp && old_mode == mode {
                    self.shared.push((old_name, path.clone()));
                }
            }
            Some(Node::Directory) => {
                let inside = below(&self.tree, path);
                let deletes = step.deletions != Deletions::None;
                inside.iter().rev().filter(|_| deletes).for_each(|path| self.delete(path, run));
                if below(&self.tree, path).is_empty() {
                    self.tree.insert(path.clone(), sent);
                } else {
                    run.keep(path);
                    run.say(&format!("could not make way for new regular file: {path}"));
                }
            }
            _ => {
                self.part(path);
                self.tree.insert(path.clone(), sent);
            }
        }
    }

    /// Where a file was that is renamed, and is still.
    fn old_name(&self, step: &Step, path: &RelPath) -> Option<(RelPath, Node)> {
        let rename = &step.renamed.as_ref()?.rename;
        let old = path.rebased(&rename.to, &rename.from)?;
        let node = *self.tree.get(&old)?;
        Some((old, node))
    }

    fn names_of(&self, path: &RelPath) -> Vec<RelPath> {
        let mut names = vec![path.clone()];
        // What is linked to what is linked.
        for _ in 0..self.shared.len() {
            for (one, other) in &self.shared {
                match (names.contains(one), names.contains(other)) {
                    (true, false) => names.push(other.clone()),
                    (false, true) => names.push(one.clone()),
                    _ => (),
                }
            }
        }
        names.retain(|name| matches!(self.tree.get(name), Some(Node::File { .. })));
        names
    }

    /// Another file gets this name, or none.
    fn part(&mut self, path: &RelPath) {
        let others: Vec<RelPath> =
            self.names_of(path).into_iter().filter(|name| name != path).collect();
        self.shared.retain(|(one, other)| one != path && other != path);
        // Those that were linked by way of it.
        for pair in others.windows(2) {
            self.shared.push((pair[0].clone(), pair[1].clone()));
        }
    }

    /// Deletes an entry, and a directory only if it is empty. At the limit it counts.
    fn delete(&mut self, path: &RelPath, run: &mut Run) {
        if !self.tree.contains_key(path) {
            return;
        }
        if run.left == 0 {
            run.skipped += 1;
        } else if !below(&self.tree, path).is_empty() {
            run.keep(path);
        } else {
            run.left -= 1;
            self.part(path);
            self.tree.remove(path);
        }
    }
}

enum Action {
    Send(RelPath),
    Delete(RelPath),
}

struct Run {
    messages: String,
    failed: bool,
    created: Vec<RelPath>,
    /// Deletions that are still allowed.
    left: u64,
    skipped: u64,
    taken_over: u64,
    extras: Vec<RelPath>,
}

impl Run {
    fn say(&mut self, line: &str) {
        self.messages += line;
        self.messages.push('\n');
        self.failed = true;
    }

    /// Which is no failure.
    fn keep(&mut self, directory: &RelPath) {
        self.messages += &format!("cannot delete non-empty directory: {directory}\n");
    }

    fn fail(&mut self, path: &RelPath, call: &str) {
        self.say(&format!(
            "rsync: [receiver] {call} \"/src/{path}\" failed: Permission denied (13)"
        ));
    }
}
