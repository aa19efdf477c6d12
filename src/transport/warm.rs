//! Runs that were started ahead of time: connected, through with the handshake, and waiting for their list.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use tokio::process::Child;

use crate::transport::process::{self, Group, Spec};
use crate::types::ids::RootId;
use crate::types::limits::WARM_PER_HOST_MAX;
use crate::types::source_dir::Identity;

/// The waiting runs of one host, the one that was started last at the end.
pub struct Warm {
    linger: Duration,
    waiting: RefCell<Vec<Waiting>>,
    next: Cell<u64>,
    is_closed: Cell<bool>,
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
    /// Whose it is.
    pub root: RootId,
    /// The directory that it has opened.
    pub source: Identity,
    /// The program.
    pub program: OsString,
    /// All but the list.
    pub arguments: Vec<OsString>,
}

impl Warm {
    /// Each waits for so long at most; with zero there are none.
    pub fn new(linger: Duration) -> Self {
        Self {
            linger,
            waiting: RefCell::default(),
            next: Cell::new(0),
            is_closed: Cell::new(false),
        }
    }

    /// One that waits for just this, and lives as far as one can tell.
    pub fn take(&self, what: &What) -> Option<(Child, Group)> {
        let mut waiting = self.waiting.borrow_mut();
        let at = waiting.iter().position(|it| it.what == *what)?;
        let Waiting { mut child, group, .. } = waiting.remove(at);
        matches!(child.try_wait(), Ok(None)).then_some((child, group))
    }

    /// Starts one for the next push. Should that not be possible, the push will say so.
    pub fn keep(self: &Rc<Self>, what: What, spec: &Spec) {
        if self.linger.is_zero() || self.is_closed.get() {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain_mut(|it| matches!(it.child.try_wait(), Ok(None)));
        if waiting.iter().any(|it| it.what == what) {
            return;
        }
        let Ok((child, group)) = process::start(spec) else { return };
        if waiting.len() >= WARM_PER_HOST_MAX {
            waiting.remove(0);
        }
        let number = self.next.replace(self.next.get() + 1);
        waiting.push(Waiting { number, what, child, group });
        let (warm, linger) = (Rc::downgrade(self), self.linger);
        actix_rt::spawn(async move {
            tokio::time::sleep(linger).await;
            if let Some(warm) = warm.upgrade() {
                warm.waiting.borrow_mut().retain(|it| it.number != number);
            }
        });
    }

    /// Ends those of one Root: they keep its directory open.
    pub fn let_go(&self, root: &RootId) {
        self.waiting.borrow_mut().retain(|it| it.what.root != *root);
    }

    /// Ends all. Returns whether there were any.
    pub fn let_all_go(&self) -> bool {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        !waiting.is_empty()
    }

    /// Ends all, and starts no more.
    pub fn close(&self) {
        self.is_closed.set(true);
        self.let_all_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(argument: &str) -> What {
        What {
            root: "site".into(),
            source: Identity { device: 1, inode: 2 },
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
            let warm = Rc::new(Warm::new(Duration::from_secs(60)));
            warm.keep(what("a"), &spec());
            warm.keep(what("a"), &spec());
            assert!(warm.take(&what("b")).is_none());
            let (child, group) = warm.take(&what("a")).expect("it was started");
            assert!(warm.take(&what("a")).is_none(), "there was one");
            let mut heard = Vec::new();
            let ended =
                process::attend(child, group, b"list".to_vec(), |p| heard.extend_from_slice(p));
            assert_eq!(ended.await.exit, crate::types::step::Exit::Code(0));
            assert_eq!(heard, b"list");
        });
    }

    #[test]
    fn one_that_died_is_not_handed_out_and_none_is_started_where_none_is_wanted() {
        on_a_system(async {
            let warm = Rc::new(Warm::new(Duration::from_secs(60)));
            warm.keep(what("a"), &Spec { program: "true".into(), ..Spec::default() });
            let is_over = || warm.waiting.borrow_mut()[0].child.try_wait().unwrap().is_some();
            while !is_over() {
                tokio::task::yield_now().await;
            }
            assert!(warm.take(&what("a")).is_none());
            let off = Rc::new(Warm::new(Duration::ZERO));
            off.keep(what("a"), &spec());
            assert!(off.take(&what("a")).is_none());
            warm.keep(what("a"), &spec());
            warm.let_go(&"other".into());
            assert!(warm.let_all_go());
            warm.close();
            warm.keep(what("a"), &spec());
            assert!(!warm.let_all_go(), "it is closed");
        });
    }

    #[test]
    fn not_more_wait_than_a_host_has_to_bear() {
        on_a_system(async {
            let warm = Rc::new(Warm::new(Duration::from_secs(60)));
            for number in 0..=WARM_PER_HOST_MAX {
                warm.keep(what(&number.to_string()), &spec());
            }
            assert!(warm.take(&what("0")).is_none() && warm.take(&what("1")).is_some());
        });
    }
}
