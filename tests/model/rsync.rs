//! One modelled run of rsync, in small steps, so that others can work on source and mirror meanwhile.

use std::collections::VecDeque;

use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::step::{Exit, StepEnd};

use super::fs::{Body, Errno, Fs};
use super::generator::{Bench, Generator, Request, Role};
use super::listing::{Entry, FileList, Lister, within};
use super::options::{AltDest, RunOptions};
use super::record::{MIRROR, Record, SOURCE, Who};

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Working,
    Done,
}

/// A list that the generator works on.
#[derive(Clone, Debug)]
struct Current {
    list: FileList,
    number: usize,
    /// What is left to be looked at, the next one first.
    todo: VecDeque<Task>,
}

/// One step of the generator.
#[derive(Clone, Debug)]
enum Task {
    Consider(RelPath, Role),
    /// The directory that the list is about.
    ConsiderParent,
    DeleteIn(RelPath),
    /// The same before anything is sent.
    DeleteFirst(RelPath),
}

/// A file that has come, under its temporary name.
#[derive(Clone, Debug)]
struct Writing {
    entry: Entry,
    temporary: RelPath,
    number: usize,
}

/// Directories whose times are set once all files of a list are there.
#[derive(Clone, Debug)]
struct Touches {
    number: usize,
    directories: VecDeque<Entry>,
}

/// A run that was begun.
#[derive(Clone, Debug)]
pub struct Run {
    options: RunOptions,
    lister: Lister,
    lists: VecDeque<FileList>,
    taken: usize,
    current: Option<Current>,
    generator: Generator,
    asked: VecDeque<(usize, Request)>,
    writing: Option<Writing>,
    touches: VecDeque<Touches>,
    record: Record,
    is_connected: bool,
    is_in_target: bool,
    end: Option<Exit>,
}

impl Run {
    pub fn new(options: RunOptions) -> Self {
        Self {
            lister: Lister::new(&options),
            record: Record::new(options.names_extras),
            options,
            lists: VecDeque::new(),
            taken: 0,
            current: None,
            generator: Generator::default(),
            asked: VecDeque::new(),
            writing: None,
            touches: VecDeque::new(),
            is_connected: false,
            is_in_target: false,
            end: None,
        }
    }

    /// Runs to its end without anybody's interference.
    pub fn complete(mut self, source: &Fs, mirror: &mut Fs) -> StepEnd {
        while self.advance(source, mirror) == Progress::Working {}
        self.end().expect("it is done")
    }

    /// One small step: a connection is made; a name or directory of the source is listed; an entry is compared with
    /// the mirror; what is too much in one directory is deleted; a file is read and written under a temporary name;
    /// it gets its name; a directory is dated.
    pub fn advance(&mut self, source: &Fs, mirror: &mut Fs) -> Progress {
        if self.end.is_some() {
            return Progress::Done;
        }
        let progress = self.step(source, mirror);
        if progress == Progress::Done && self.end.is_none() {
            if self.generator.skipped > 0 {
                self.record.skipped(self.generator.skipped);
            }
            self.end = Some(Exit::Code(self.record.code(self.options.is_daemon)));
        }
        if self.end.is_some() { Progress::Done } else { Progress::Working }
    }

    /// The client is gone, with a code of its own or by a signal. What its receiver had under way is still there:
    /// it goes on by [`Run::late`], or is thrown away by [`Run::abandon`], or stays if the receiver was killed too.
    pub fn cut(&mut self, exit: Exit) {
        self.end = Some(exit);
    }

    /// A receiver that was stopped wakes up after its client is gone, and goes on for one small step with what it had
    /// been sent: it finishes its file, and compares and deletes by the lists that it knows. Returns whether there
    /// may be more.
    pub fn late(&mut self, mirror: &mut Fs) -> bool {
        if self.writing.is_some() {
            self.finish(mirror);
            return true;
        }
        if !self.is_in_target {
            return false;
        }
        // Nobody answers any more.
        let is_working = self.generate(mirror);
        self.asked.clear();
        is_working
    }

    /// The receiver sees that its client is gone: it removes its temporary file and ends.
    pub fn abandon(&mut self, mirror: &mut Fs) {
        if let Some(writing) = self.writing.take() {
            self.bench(mirror).0.remove_temporary(&writing.temporary);
        }
        self.lists.clear();
        self.current = None;
        self.touches.clear();
    }

    /// How it ended; none while it goes on.
    pub fn end(&self) -> Option<StepEnd> {
        self.end.map(|exit| self.record.end(exit, &self.options.top, self.is_connected))
    }

    fn fatal(&mut self, code: i32, line: &str) -> Progress {
        self.record.warn(line);
        self.end = Some(Exit::Code(code));
        Progress::Done
    }

    fn bench<'a>(&'a mut self, mirror: &'a mut Fs) -> (Bench<'a>, &'a mut Generator) {
        let Self { options, record, generator, .. } = self;
        (Bench { options, mirror, record }, generator)
    }

    fn step(&mut self, source: &Fs, mirror: &mut Fs) -> Progress {
        if !self.is_connected {
            self.is_connected = true;
            if self.options.looks {
                return self.look(mirror);
            }
            return self.enter_source(source);
        }
        let knows_none = self.current.is_none() && self.lists.is_empty();
        let is_behind = self.lists.len() < self.options.lists_ahead;
        if !self.lister.is_done() && (knows_none || is_behind) {
            if let Some(list) = self.lister.advance(&self.options, source, &mut self.record) {
                self.lists.push_back(list);
                // Known to the receiver with the end of each list.
                self.generator.has_failed |= self.lister.has_failed;
            }
            return Progress::Working;
        }
        if !self.is_in_target {
            return self.enter_target(mirror);
        }
        let is_full = self.asked.len() >= self.options.files_ahead.max(1);
        if self.writing.is_some() {
            self.finish(mirror);
            return Progress::Working;
        }
        if !is_full && self.generate(mirror) {
            return Progress::Working;
        }
        if let Some((number, request)) = self.asked.pop_front() {
            return self.send(number, &request, source, mirror);
        }
        if self.lister.is_done() && self.lists.is_empty() && self.touches.is_empty() {
            return Progress::Done;
        }
        Progress::Working
    }

    fn look(&mut self, mirror: &Fs) -> Progress {
        match mirror.read_directory(&self.options.top) {
            Ok(names) => {
                let is_shown = |name: &&Vec<u8>| {
                    let path = self.options.top.join(name);
                    !self.options.hides(&path, mirror.is_directory(&path))
                };
                self.record.entries_found = names.iter().filter(is_shown).count() as u64;
            }
            Err(errno) => {
                let call = format!("rsync: [sender] change_dir \"{MIRROR}\" failed");
                self.record.fail(&format!("{call}: {}", errno.text()));
            }
        }
        Progress::Done
    }

    fn enter_source(&mut self, source: &Fs) -> Progress {
        let top = &self.options.top;
        match source.enter(top) {
            Ok(_) => Progress::Working,
            Err(errno) => {
                let call = format!("rsync: [sender] change_dir \"{SOURCE}/./{top}/\" failed");
                self.fatal(3, &format!("{call}: {}", errno.text()))
            }
        }
    }

    fn enter_target(&mut self, mirror: &mut Fs) -> Progress {
        self.is_in_target = true;
        let top = self.options.top.clone();
        let found = mirror.enter(&top);
        let files: usize = self.lists.iter().map(FileList::len).sum();
        if files == 0 {
            return Progress::Done;
        }
        match found {
            Ok(_) => {
                self.find_basis(mirror);
                Progress::Working
            }
            Err(Errno::NoEntry) if self.options.makes_target => {
                mirror.make_root();
                self.generator.has_made(RelPath::root());
                Progress::Working
            }
            // It only says that it would make the directory.
            Err(Errno::NoEntry) if self.options.dry_run && files > 1 => {
                self.generator.has_no_target = true;
                Progress::Working
            }
            Err(errno) => {
                let name = Who::Receiver.quoted(&top, &RelPath::root());
                let is_missing = errno == Errno::NoEntry;
                let (code, line) = match files {
                    1 if is_missing => {
                        let parent = name.replace("/.\"", "\"");
                        (3, format!("rsync: [Receiver] change_dir#3 {parent} failed"))
                    }
                    _ if is_missing => (11, format!("rsync: [Receiver] mkdir {name} failed")),
                    _ => (3, format!("rsync: [Receiver] ERROR: cannot stat destination {name}")),
                };
                self.fatal(code, &format!("{line}: {}", errno.text()))
            }
        }
    }

    /// The other directory, relative to the one that is filled. Without it everything is sent.
    fn find_basis(&mut self, mirror: &Fs) {
        let top = &self.options.top;
        let Some((alt_dest, from)) = &self.options.alt_dest else { return };
        let Ok(real) = mirror.resolve(top, true) else { return };
        let depth = top.ancestors().count();
        let above = std::iter::once(real.clone()).chain(real.ancestors()).nth(depth);
        let directory = above.map(|above| within(&above, from));
        let option = match alt_dest {
            AltDest::Link => "--link-dest",
            AltDest::Copy => "--copy-dest",
        };
        let top = if top.is_root() { String::new() } else { format!("{top}/") };
        let path = format!("{MIRROR}/{top}{}{from}", "../".repeat(depth));
        match directory.as_ref().map(|it| mirror.stat(it)) {
            Some(Ok(inode)) if inode.is_directory() => (),
            Some(Ok(_)) => self.record.warn(&format!("{option} arg is not a dir: {path}")),
            _ => self.record.warn(&format!("{option} arg does not exist: {path}")),
        }
        self.generator.basis = directory;
    }

    /// One step of the generator; false if it has to wait, or has come to the end.
    fn generate(&mut self, mirror: &mut Fs) -> bool {
        if self.touch(mirror) {
            return true;
        }
        if self.current.is_none() {
            let Some(list) = self.lists.pop_front() else { return false };
            let number = self.taken;
            self.taken += 1;
            let todo = self.tasks(&list);
            self.current = Some(Current { list, number, todo });
        }
        let mut current = self.current.take().expect("it was set above");
        let Some(task) = current.todo.pop_front() else {
            let is_incremental = self.options.is_incremental();
            let directories = if is_incremental {
                current.list.parent.iter().cloned().collect()
            } else {
                let sorted = current.list.sorted();
                let entries = sorted.iter().filter_map(|path| current.list.get(path).cloned());
                entries.filter(Entry::is_directory).collect()
            };
            self.touches.push_back(Touches { number: current.number, directories });
            return true;
        };
        self.perform(&task, &current, mirror);
        self.current = Some(current);
        true
    }

    fn tasks(&self, list: &FileList) -> VecDeque<Task> {
        let mut tasks = VecDeque::new();
        let RunOptions { delete, delete_before, .. } = self.options;
        let sorted = list.sorted();
        let has_contents = |path: &&RelPath| list.get(path).is_some_and(|entry| entry.has_contents);
        if delete_before {
            let listed = sorted.iter().filter(has_contents);
            tasks.extend(listed.map(|path| Task::DeleteFirst(path.clone())));
        }
        if !self.options.is_incremental() {
            for path in &sorted {
                tasks.push_back(Task::Consider(path.clone(), Role::Entry));
                if delete && !delete_before && has_contents(&path) {
                    tasks.push_back(Task::DeleteIn(path.clone()));
                }
            }
            return tasks;
        }
        if let Some(parent) = &list.parent {
            tasks.push_back(Task::ConsiderParent);
            if delete && parent.has_contents {
                tasks.push_back(Task::DeleteIn(parent.path.clone()));
            }
        }
        tasks.extend(sorted.into_iter().map(|path| {
            let is_directory = list.get(&path).is_some_and(Entry::is_directory);
            Task::Consider(path, if is_directory { Role::Early } else { Role::Entry })
        }));
        tasks
    }

    fn perform(&mut self, task: &Task, current: &Current, mirror: &mut Fs) {
        let Current { list, number, .. } = current;
        let (mut bench, generator) = self.bench(mirror);
        let request = match task {
            Task::Consider(path, role) => {
                let entry = list.get(path).expect("the tasks are made of the list");
                generator.consider(entry, *role, list, &mut bench)
            }
            Task::ConsiderParent => {
                let parent = list.parent.as_ref().expect("the task was made of it");
                generator.consider(parent, Role::Entry, list, &mut bench)
            }
            Task::DeleteIn(path) => {
                if generator.may_delete_in(path, bench.options) {
                    generator.delete_in(path, list, &mut bench);
                }
                None
            }
            Task::DeleteFirst(path) => {
                let at = bench.at(path);
                if bench.mirror.lstat(&at).is_ok_and(|it| it.is_directory()) {
                    generator.delete_in(path, list, &mut bench);
                }
                None
            }
        };
        self.end = self.record.fatal.map(Exit::Code);
        if let Some(request) = request {
            if self.options.dry_run {
                self.record.itemize(request.item);
            } else {
                self.asked.push_back((*number, request));
            }
        }
    }

    /// The next directory of which all files are there is dated.
    fn touch(&mut self, mirror: &mut Fs) -> bool {
        let Some(touches) = self.touches.front_mut() else { return false };
        let is_waiting = |number: usize| number <= touches.number;
        if self.asked.iter().any(|(number, _)| is_waiting(*number))
            || self.writing.as_ref().is_some_and(|it| is_waiting(it.number))
        {
            return false;
        }
        let next = touches.directories.pop_front();
        match next {
            Some(entry) => {
                let (mut bench, generator) = self.bench(mirror);
                generator.touch_up(&entry, &mut bench);
            }
            None => drop(self.touches.pop_front()),
        }
        true
    }

    /// The sender reads a file, and the receiver writes it.
    fn send(&mut self, number: usize, request: &Request, source: &Fs, mirror: &mut Fs) -> Progress {
        let Request { entry, item } = request;
        let Entry { path, .. } = entry;
        let top = self.options.top.clone();
        let (content, size) = match source.read(&within(&top, path)) {
            Ok(read) => read,
            Err(Errno::NoEntry) => {
                let name = Who::Sender.quoted(&top, path);
                self.record.vanished(&format!("file has vanished: {name}"));
                return Progress::Working;
            }
            Err(Errno::IsDirectory) => {
                let call = "read errors mapping %s";
                self.record.fail(&Who::Sender.failed(call, &top, path, Errno::IsDirectory));
                self.record
                    .fail(&format!("ERROR: {path} failed verification -- update discarded."));
                return Progress::Working;
            }
            Err(errno) => {
                let call = "send_files failed to open %s";
                self.record.fail(&Who::Sender.failed(call, &top, path, errno));
                return Progress::Working;
            }
        };
        self.record.itemize(item.clone());
        let (mut bench, _) = self.bench(mirror);
        if bench.mirror.lstat(&bench.at(path)).is_ok_and(|it| it.body == Body::Directory) {
            let name = Who::Receiver.quoted(&top, path);
            bench.record.fail(&format!("recv_files: {name} is a directory"));
            return Progress::Working;
        }
        match bench.make_temporary(Who::Receiver, entry, content, size) {
            Ok(temporary) => {
                self.writing = Some(Writing { entry: entry.clone(), temporary, number });
                Progress::Working
            }
            Err(None) => Progress::Working,
            // It can't go on in the middle of a file.
            Err(Some(_)) => {
                self.end = Some(Exit::Code(11));
                Progress::Done
            }
        }
    }

    fn finish(&mut self, mirror: &mut Fs) {
        let Some(Writing { entry, temporary, .. }) = self.writing.take() else { return };
        self.bench(mirror).0.finish(Who::Receiver, &entry, &temporary);
    }
}
