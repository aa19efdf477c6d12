//! Runs that were started ahead of time: connected, through with the handshake, and waiting for their list.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::process::Child;
use tokio::time::Instant;

use crate::transport::process::{self, Group, Spec};
use mirrorball_core::data::ids::{HostId, RootId};
use mirrorball_core::data::limits::WARM_PER_HOST_MAX;
use mirrorball_core::data::plan::{HostKind, HostPlan};
use mirrorball_core::data::source_dir::Identity;

/// The waiting runs of one host.
pub struct Warm {
    host: HostId,
    linger: Duration,
    house: Rc<House>,
    is_closed: Cell<bool>,
}

/// The waiting runs of all hosts at one address: they take each other's places.
#[derive(Default)]
struct House {
    /// The one that was started last at the end.
    waiting: RefCell<Vec<Waiting>>,
    next: Cell<u64>,
    /// When somebody was turned away for want of places.
    full_at: Cell<Option<Instant>>,
}

struct Waiting {
    number: u64,
    what: What,
    child: Child,
    group: Group,
}

/// What a run is good for: the same program with the same arguments in the same directory.
#[derive(Clone, Debug, PartialEq)]
pub struct What {
    /// Where it is connected to.
    pub host: HostId,
    /// Whose it is.
    pub root: RootId,
    /// The directory that it has opened.
    pub source: Identity,
    /// The mirror's directory, which it has opened too, where that is here.
    pub target: Option<Identity>,
    /// The program.
    pub program: OsString,
    /// All but the list.
    pub arguments: Vec<OsString>,
}

thread_local! {
    static HOUSES: RefCell<BTreeMap<String, Weak<House>>> = const { RefCell::new(BTreeMap::new()) };
}

impl Warm {
    /// Each waits for so long at most; with zero there are none.
    pub fn new(host: &HostPlan) -> Self {
        let address = match &host.kind {
            HostKind::Rsyncd { address, port, .. } => format!("{address}:{port}"),
            HostKind::Ssh { .. } | HostKind::Local => format!("{} alone", host.id),
        };
        let house = HOUSES.with_borrow_mut(|houses| {
            houses.retain(|_, house| house.strong_count() > 0);
            let known = houses.get(&address).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let house = Rc::new(House::default());
                houses.insert(address, Rc::downgrade(&house));
                house
            })
        });
        Self { host: host.id.clone(), linger: host.warm, house, is_closed: Cell::new(false) }
    }

    /// One that waits for just this, and lives as far as one can tell.
    pub fn take(&self, what: &What) -> Option<(Child, Group)> {
        let mut waiting = self.house.waiting.borrow_mut();
        // One that waits in a directory which another has replaced is of no use any more.
        waiting.retain(|it| it.what.target == what.target || it.what.arguments != what.arguments);
        let at = waiting.iter().position(|it| it.what == *what)?;
        let Waiting { mut child, group, .. } = waiting.remove(at);
        matches!(child.try_wait(), Ok(None)).then_some((child, group))
    }

    /// Starts one for the next push. Should that not be possible, the push will say so.
    pub fn keep(&self, what: What, spec: &Spec) {
        let is_full = self.house.full_at.get().is_some_and(|at| at.elapsed() < self.linger);
        if self.linger.is_zero() || self.is_closed.get() || is_full {
            return;
        }
        let mut waiting = self.house.waiting.borrow_mut();
        waiting.retain_mut(|it| matches!(it.child.try_wait(), Ok(None)));
        if waiting.iter().any(|it| it.what == what) {
            return;
        }
        let Ok((child, group)) = process::start(spec) else { return };
        let own = waiting.iter().filter(|it| it.what.host == self.host).count();
        if own >= WARM_PER_HOST_MAX
            && let Some(oldest) = waiting.iter().position(|it| it.what.host == self.host)
        {
            waiting.remove(oldest);
        }
        let number = self.house.next.replace(self.house.next.get() + 1);
        waiting.push(Waiting { number, what, child, group });
        let (house, linger) = (Rc::downgrade(&self.house), self.linger);
        actix_rt::spawn(async move {
            tokio::time::sleep(linger).await;
            if let Some(house) = house.upgrade() {
                house.waiting.borrow_mut().retain(|it| it.number != number);
            }
        });
    }

    /// Ends those of one Root: they keep its directory open.
    pub fn let_go(&self, root: &RootId) {
        let is_it = |what: &What| what.host == self.host && what.root == *root;
        self.house.waiting.borrow_mut().retain(|it| !is_it(&it.what));
    }

    /// The other end has no place for more: ends all that wait there, and starts none for a while. Returns
    /// whether there were any.
    pub fn make_room(&self) -> bool {
        self.house.full_at.set(Some(Instant::now()));
        let waiting = std::mem::take(&mut *self.house.waiting.borrow_mut());
        !waiting.is_empty()
    }

    /// Ends all of this host, and starts no more.
    pub fn close(&self) {
        self.is_closed.set(true);
        self.house.waiting.borrow_mut().retain(|it| it.what.host != self.host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorball_core::data::plan::RetryPlan;
    use mirrorball_core::data::timetable::Bandwidth;

    fn warm_of(name: &str, linger: u32) -> Warm {
        let kind =
            HostKind::Rsyncd { address: "x".into(), port: 873, user: None, password_file: None };
        let second = Duration::from_secs(1);
        Warm::new(&HostPlan {
            id: name.into(),
            kind,
            pushes: 2,
            bandwidth: Bandwidth::default(),
            timeout: second,
            retry: RetryPlan { first: second, max: second },
            warm: second * linger,
        })
    }

    fn what(argument: &str) -> What {
        What {
            host: "web".into(),
            root: "site".into(),
            source: Identity { device: 1, inode: 2 },
            target: None,
            program: "cat".into(),
            arguments: vec![argument.into()],
        }
    }

    fn spec() -> Spec {
        Spec { program: "cat".into(), ..Spec::default() }
    }

    fn on_a_system(work: impl Future<Output = ()>) {
        actix::System::new().block_on(work);
    }

    #[test]
    fn one_is_taken_once_and_only_for_what_it_was_started_for() {
        on_a_system(async {
            let warm = warm_of("web", 60);
            warm.keep(what("a"), &spec());
            warm.keep(what("a"), &spec());
            assert!(warm.take(&what("b")).is_none());
            let (child, group) = warm.take(&what("a")).expect("it was started");
            assert!(warm.take(&what("a")).is_none(), "there was one");
            let mut heard = Vec::new();
            let ended =
                process::attend(child, group, b"list".to_vec(), |p| heard.extend_from_slice(p));
            assert_eq!(ended.await.exit, mirrorball_core::data::step::Exit::Code(0));
            assert_eq!(heard, b"list");
        });
    }

    #[test]
    fn one_that_died_is_not_handed_out_and_none_is_started_where_none_is_wanted() {
        on_a_system(async {
            let warm = warm_of("web", 60);
            warm.keep(what("a"), &Spec { program: "true".into(), ..Spec::default() });
            let is_over = || warm.house.waiting.borrow_mut()[0].child.try_wait().unwrap().is_some();
            while !is_over() {
                tokio::task::yield_now().await;
            }
            assert!(warm.take(&what("a")).is_none());
            let off = warm_of("off", 0);
            off.keep(what("a"), &spec());
            assert!(off.take(&what("a")).is_none());
            warm.keep(what("a"), &spec());
            warm.let_go(&"other".into());
            assert!(warm.take(&what("a")).is_some());
            warm.close();
            warm.keep(what("a"), &spec());
            assert!(warm.take(&what("a")).is_none(), "it is closed");
        });
    }

    #[test]
    fn hard_case_17_whoever_is_turned_away_gets_the_places_of_all_at_that_address() {
        on_a_system(async {
            let (one, other) = (warm_of("web", 60), warm_of("other", 60));
            one.keep(what("a"), &spec());
            assert!(other.make_room() && !other.make_room());
            one.keep(what("a"), &spec());
            assert!(one.take(&what("a")).is_none(), "for a while there is no room");
        });
    }

    #[test]
    fn not_more_wait_than_a_host_has_to_bear() {
        on_a_system(async {
            let warm = warm_of("web", 60);
            for number in 0..=WARM_PER_HOST_MAX {
                warm.keep(what(&number.to_string()), &spec());
            }
            assert!(warm.take(&what("0")).is_none() && warm.take(&what("1")).is_some());
        });
    }
}
