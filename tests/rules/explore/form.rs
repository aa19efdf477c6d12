//! The canonical form of a state: ids and epochs by rank, moments by what they allow.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use mirrorball_core::data::change::{AssignmentId, Epoch, Lane};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::root::backlog::{Cause, ObligationId};
use mirrorball_core::root::mirror::Mirror;
use mirrorball_core::root::writers::Scope;

use super::world::{Phase, Run, Value, World};

/// Two states of equal form have the same future; by a hash of it, wide enough that none are taken for one another. Where
/// the two files are alike, a state and its mirror image have one form.
pub fn of(world: &World) -> u128 {
    let epochs = epochs(world);
    let form = |places: [usize; 2]| {
        let mut form = Form { bytes: Vec::with_capacity(256), epochs: &epochs, places };
        form.world(world);
        form.bytes
    };
    let own = form([0, 1]);
    let bytes = if world.is_symmetric { own.min(form([1, 0])) } else { own };
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        bytes.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    (half(0) << 64) | half(1)
}

struct Form<'a> {
    bytes: Vec<u8>,
    /// Sorted; an epoch is written as its place in here.
    epochs: &'a [Epoch],
    /// In which order the files are written.
    places: [usize; 2],
}

fn epochs(world: &World) -> Vec<Epoch> {
    let log = world.ledger.log();
    let mut all = vec![Epoch(0), log.head()];
    for (_, entry) in log.range(Epoch(0), log.head()) {
        all.extend([entry.first, entry.newest]);
    }
    all.extend(world.mark.map(|mark| mark.epoch));
    for index in 0..world.targets.len() {
        let mirror = world.mirror(index);
        all.push(mirror.cursor());
        all.extend(mirror.ceiling());
        all.extend(mirror.backlog().iter().map(|(_, it)| it.mark));
        all.extend(mirror.writers().iter().map(|(_, it)| it.start));
        let lanes = [Lane::Fresh, Lane::Slow].into_iter().filter_map(|lane| mirror.assigned(lane));
        all.extend(lanes.flat_map(|it| [it.from, it.to]));
    }
    all.sort_unstable();
    all.dedup();
    all
}

impl Form<'_> {
    fn byte(&mut self, byte: impl Into<u8>) {
        self.bytes.push(byte.into());
    }

    fn number(&mut self, number: usize) {
        self.bytes.push(u8::try_from(number).expect("the world is small"));
    }

    fn epoch(&mut self, epoch: Epoch) {
        let place = self.epochs.binary_search(&epoch).expect("all of them were listed");
        self.number(place);
    }

    fn value(&mut self, value: Value) {
        self.bytes.extend([value.version, value.stamp]);
    }

    fn values(&mut self, values: [Value; 2]) {
        for place in self.places {
            self.value(values[place]);
        }
    }

    fn path(&mut self, world: &World, path: &RelPath) {
        let place = world.paths.iter().position(|it| it == path);
        let around = if path.is_root() { 2 } else { 3 };
        self.number(place.map_or(around, |place| self.places[place]));
    }

    /// What each of these writes, sorted. Returns the place of each.
    fn sorted<T>(
        &mut self,
        all: impl Iterator<Item = T>,
        write: impl Fn(&mut Self, T),
    ) -> Vec<usize> {
        let before = std::mem::take(&mut self.bytes);
        let mut written: Vec<(Vec<u8>, usize)> = Vec::new();
        for (number, it) in all.enumerate() {
            write(self, it);
            written.push((std::mem::take(&mut self.bytes), number));
        }
        self.bytes = before;
        written.sort();
        self.number(written.len());
        written.iter().for_each(|(bytes, _)| self.bytes.extend(bytes));
        let mut places = vec![0; written.len()];
        written.iter().enumerate().for_each(|(place, (_, number))| places[*number] = place);
        places
    }

    fn world(&mut self, world: &World) {
        self.values(world.source);
        self.byte(world.open[2].bits());
        let left = &world.left;
        for place in self.places {
            let journal = world.journal[place].bits();
            self.bytes
                .extend([world.open[place].bits(), if left.crashes > 0 { journal } else { 0 }]);
        }
        self.bytes.extend([left.changes, left.losses, left.cuts, left.fails, left.crashes]);
        self.bytes.extend([left.checks, left.marks, left.large]);
        self.byte(world.mark.is_some());
        if let Some(mark) = world.mark {
            self.epoch(mark.epoch);
            self.values(mark.source);
        }
        let log = world.ledger.log();
        self.epoch(log.head());
        self.sorted(log.range(Epoch(0), log.head()), |form, (path, entry)| {
            form.path(world, path);
            form.epoch(entry.first);
            form.epoch(entry.newest);
            form.byte(entry.need.bits());
        });
        for (index, target) in world.targets.iter().enumerate() {
            self.values(target.held);
            for place in self.places {
                self.byte(target.claimed.map_or(9, |it| u8::from(it[place])));
                self.byte(target.pushes[place]);
            }
            let mirror = world.mirror(index);
            self.mirror(world, mirror);
            self.number(target.runs.len());
            target.runs.iter().for_each(|run| self.run(mirror, run));
        }
    }

    fn mirror(&mut self, world: &World, mirror: &Mirror) {
        self.epoch(mirror.cursor());
        self.byte(mirror.ceiling().is_some());
        mirror.ceiling().into_iter().for_each(|ceiling| self.epoch(ceiling));
        self.byte(mirror.tries_failed());
        let writer = |id: AssignmentId| mirror.writers().iter().position(|(own, _)| own == id);
        let writer = |id: AssignmentId| writer(id).unwrap_or(200);
        let places = self.sorted(mirror.backlog().iter(), |form, (_, it)| {
            for (path, need) in it.items() {
                form.path(world, path);
                form.byte(need.bits());
            }
            form.bytes.extend([cause(&it.cause), it.lane as u8]);
            form.epoch(it.mark);
            form.byte(it.gates.not_before.is_some_and(|moment| moment > world.now));
            form.number(it.gates.after.map_or(201, writer));
        });
        let place = |id: ObligationId| mirror.backlog().iter().position(|(own, _)| own == id);
        let place = |id: ObligationId| place(id).map_or(200, |number| places[number]);
        for lane in [Lane::Fresh, Lane::Slow] {
            let Some(assigned) = mirror.assigned(lane) else {
                self.byte(255);
                continue;
            };
            self.number(writer(assigned.id));
            self.epoch(assigned.from);
            self.epoch(assigned.to);
            self.byte(assigned.compares.map_or(0, |depth| 1 + depth as u8));
            self.sorted(assigned.named.iter(), |form, id| form.number(place(*id)));
            self.sorted(assigned.paths.iter(), |form, path| form.path(world, path));
        }
        for (_, it) in mirror.writers().iter() {
            self.epoch(it.start);
            self.byte(it.endangers);
            self.byte(it.owes_all);
            self.byte(it.cut.is_some());
            self.byte(it.contact.is_some());
            match &it.scope {
                Scope::Root => self.byte(255),
                Scope::Paths(paths) => {
                    drop(self.sorted(paths.iter(), |form, (path, is_within)| {
                        form.path(world, path);
                        form.byte(*is_within);
                    }))
                }
            }
        }
    }

    fn run(&mut self, mirror: &Mirror, run: &Run) {
        let writer = mirror.writers().iter().position(|(own, _)| own == run.id);
        self.number(writer.filter(|_| run.cut.is_none()).unwrap_or(200));
        self.byte(run.compares);
        self.byte(run.cut.map_or(0, |contact| 1 + u8::from(contact.is_some())));
        for place in self.places {
            self.byte(run.need[place].bits());
            match run.phase[place] {
                Phase::Unread => self.byte(0),
                Phase::Read(value) => {
                    self.byte(1);
                    self.value(value);
                }
                Phase::Done => self.byte(2),
                Phase::Failed => self.byte(3),
                Phase::Extra => self.byte(4),
            }
        }
    }
}

fn cause(cause: &Cause) -> u8 {
    match cause {
        Cause::Walk => 0,
        Cause::Check { depth } => 1 + *depth as u8,
        Cause::Interference => 3,
        Cause::Large => 4,
        Cause::Failed { .. } => 5,
        Cause::Renamed { .. } => 6,
        Cause::Extra => 7,
        Cause::Deletion => 8,
        Cause::Unmounted => 9,
        Cause::Leftovers => 10,
        Cause::Restarted => 11,
        Cause::Resumed => 12,
    }
}
