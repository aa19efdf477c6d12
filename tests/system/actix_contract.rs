//! What actix 0.13 really does, as far as the design leans on it. If an upgrade breaks one of these,
//! look at the design, not at the test.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::prelude::*;

type Log = Rc<RefCell<Vec<String>>>;

fn run<F: Future<Output = ()> + 'static>(test: impl FnOnce() -> F) {
    let system = System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime")
    });
    system.block_on(async move { test().await });
}

fn run_paused<F: Future<Output = ()> + 'static>(test: impl FnOnce() -> F + 'static) {
    run(|| async move {
        tokio::time::pause();
        test().await;
    });
}

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// An actor that notes what happens to it.
struct Probe {
    log: Log,
    count: u32,
    own: Option<Addr<Probe>>,
    _notice: Option<Notice>,
}

impl Probe {
    fn new(log: &Log) -> Self {
        Self { log: log.clone(), count: 0, own: None, _notice: None }
    }

    fn note(&self, what: impl Into<String>) {
        self.log.borrow_mut().push(what.into());
    }
}

struct Notice(Log);

impl Drop for Notice {
    fn drop(&mut self) {
        self.0.borrow_mut().push("dropped".into());
    }
}

impl Actor for Probe {
    type Context = Context<Self>;
    fn started(&mut self, _: &mut Self::Context) {
        self.note("started");
    }
    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.note("stopping");
        Running::Stop
    }
    fn stopped(&mut self, _: &mut Self::Context) {
        self.note("stopped");
    }
}

impl Supervised for Probe {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.note("restarting");
    }
}

#[derive(Message)]
#[rtype(result = "u32")]
struct Add(u32);

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

#[derive(Message)]
#[rtype(result = "()")]
struct KeepOwnAddress;

/// Runs a closure inside the actor, so that each test can say what it needs.
#[derive(Message)]
#[rtype(result = "()")]
struct Do(fn(&mut Probe, &mut Context<Probe>));

impl Handler<Add> for Probe {
    type Result = u32;
    fn handle(&mut self, msg: Add, _: &mut Self::Context) -> u32 {
        self.count += msg.0;
        self.count
    }
}

impl Handler<Stop> for Probe {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<Panic> for Probe {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("asked to");
    }
}

impl Handler<KeepOwnAddress> for Probe {
    type Result = ();
    fn handle(&mut self, _: KeepOwnAddress, ctx: &mut Self::Context) {
        self.own = Some(ctx.address());
    }
}

impl Handler<Do> for Probe {
    type Result = ();
    fn handle(&mut self, msg: Do, ctx: &mut Self::Context) {
        (msg.0)(self, ctx);
    }
}

fn supervised(log: &Log) -> Addr<Probe> {
    let log = log.clone();
    Supervisor::start(move |_| Probe::new(&log))
}

#[test]
fn a_restart_goes_stopping_stopped_restarting_started_and_keeps_the_struct() {
    run_paused(|| async {
        let log = Log::default();
        let addr = supervised(&log);
        assert_eq!(addr.send(Add(7)).await.unwrap(), 7);
        addr.do_send(Stop);
        assert_eq!(addr.send(Add(1)).await.unwrap(), 8, "the field kept its value");
        assert_eq!(*log.borrow(), ["started", "stopping", "stopped", "restarting", "started"]);
    });
}

#[test]
fn messages_behind_the_one_that_stopped_it_reach_the_next_incarnation() {
    run_paused(|| async {
        let log = Log::default();
        let addr = supervised(&log);
        addr.do_send(Stop);
        addr.do_send(Add(1));
        addr.do_send(Add(1));
        assert_eq!(addr.send(Add(1)).await.unwrap(), 3);
    });
}

#[test]
fn without_a_supervisor_they_are_lost_and_their_senders_told() {
    run_paused(|| async {
        let log = Log::default();
        let addr = Probe::new(&log).start();
        addr.do_send(Stop);
        let answer = addr.send(Add(1)).await;
        assert!(matches!(answer, Err(MailboxError::Closed)), "{answer:?}");
    });
}

#[test]
fn a_panic_kills_the_actor_and_nobody_else_and_drops_its_struct() {
    run_paused(|| async {
        let log = Log::default();
        let other = supervised(&log);
        let notice_log = log.clone();
        let addr = Supervisor::start(move |_| Probe {
            _notice: Some(Notice(notice_log.clone())),
            ..Probe::new(&notice_log)
        });
        assert!(addr.send(Panic).await.is_err());
        settle().await;
        assert!(!addr.connected(), "the supervisor does not catch panics");
        assert!(log.borrow().contains(&"dropped".to_string()), "the death notice arrives");
        assert_eq!(other.send(Add(1)).await.unwrap(), 1);
    });
}

#[test]
fn a_supervised_actor_ends_with_its_last_address_unless_it_keeps_its_own() {
    run_paused(|| async {
        let log = Log::default();
        let addr = supervised(&log);
        addr.send(Add(1)).await.unwrap();
        let weak = addr.downgrade();
        drop(addr);
        settle().await;
        assert!(weak.upgrade().is_none());

        let addr = supervised(&log);
        addr.send(KeepOwnAddress).await.unwrap();
        let weak = addr.downgrade();
        drop(addr);
        settle().await;
        assert!(weak.upgrade().is_some());
    });
}

#[test]
fn ctx_wait_stops_timers_futures_and_messages() {
    run_paused(|| async {
        let log = Log::default();
        let addr = supervised(&log);
        addr.send(Do(|_, ctx| {
            ctx.run_interval(Duration::from_millis(10), |act, _| act.note("tick"));
            ctx.spawn(
                tokio::time::sleep(Duration::from_millis(20))
                    .into_actor(&Probe::new(&Log::default()))
                    .map(|(), act: &mut Probe, _| act.note("future")),
            );
            ctx.wait(
                tokio::time::sleep(Duration::from_millis(100))
                    .into_actor(&Probe::new(&Log::default()))
                    .map(|(), act: &mut Probe, _| act.note("waited")),
            );
        }))
        .await
        .unwrap();
        addr.send(Add(1)).await.unwrap();
        let seen = log.borrow().clone();
        let waited = seen.iter().position(|s| s == "waited").expect("the wait ended first");
        assert!(!seen[..waited].iter().any(|s| s == "tick" || s == "future"), "{seen:?}");
    });
}

#[test]
fn the_mailbox_is_emptied_before_any_timer_fires() {
    run(|| async {
        let log = Log::default();
        let addr = supervised(&log);
        addr.send(Do(|_, ctx| {
            ctx.run_later(Duration::from_millis(1), |act, _| {
                let count = act.count;
                act.note(format!("timer after {count}"));
            });
        }))
        .await
        .unwrap();
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_millis(5) {}
        for _ in 0..2000 {
            addr.do_send(Add(1));
        }
        while !log.borrow().iter().any(|s| s.starts_with("timer")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(log.borrow().contains(&"timer after 2000".to_string()), "{:?}", log.borrow());
    });
}

thread_local! {
    static HANDLE: RefCell<Option<SpawnHandle>> = const { RefCell::new(None) };
}

#[test]
fn a_spawn_handle_kept_over_a_restart_cancels_a_stranger() {
    run_paused(|| async {
        let log = Log::default();
        let addr = supervised(&log);
        let arm: fn(&mut Probe, &mut Context<Probe>) = |_, ctx| {
            let handle = ctx.run_later(Duration::from_millis(5), |act, _| act.note("fired"));
            HANDLE.with(|h| h.borrow_mut().get_or_insert(handle).clone_from(&handle));
        };
        addr.send(Do(arm)).await.unwrap();
        addr.send(Do(|_, ctx| ctx.stop())).await.unwrap();
        addr.send(Do(|_, ctx| {
            ctx.run_later(Duration::from_millis(5), |act, _| act.note("fired"));
            let old = HANDLE.with(|h| h.borrow().expect("armed before the restart"));
            ctx.cancel_future(old);
        }))
        .await
        .unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!log.borrow().contains(&"fired".to_string()));
    });
}

#[test]
fn capacity_binds_one_recipient_but_never_a_clone_per_message() {
    run_paused(|| async {
        let log = Log::default();
        let addr = supervised(&log);
        addr.send(Do(|_, ctx| ctx.set_mailbox_capacity(4))).await.unwrap();
        let one = addr.clone().recipient::<Add>();
        let refused = (0..20).filter(|_| one.try_send(Add(1)).is_err()).count();
        assert!(refused >= 14, "refused {refused} of 20");
        let refused = (0..20).filter(|_| addr.clone().try_send(Add(1)).is_err()).count();
        assert_eq!(refused, 0);
    });
}

#[test]
fn dropping_a_send_before_it_is_handled_takes_it_back() {
    run_paused(|| async {
        let log = Log::default();
        let addr = supervised(&log);
        let mut pending = Box::pin(addr.send(Add(100)));
        let polled = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(pending.as_mut().poll(cx).is_pending())
        });
        assert!(polled.await);
        drop(pending);
        assert_eq!(addr.send(Add(1)).await.unwrap(), 1);
    });
}

#[test]
fn an_hour_of_ten_millisecond_ticks_passes_under_paused_time() {
    run_paused(|| async {
        let log = Log::default();
        let addr = supervised(&log);
        addr.send(Do(|_, ctx| {
            ctx.run_interval(Duration::from_millis(10), |act, _| act.count += 1);
        }))
        .await
        .unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let ticks = addr.send(Add(0)).await.unwrap();
        assert!((359_000..=360_000).contains(&ticks), "{ticks}");
    });
}

struct Spinner {
    starts: Rc<RefCell<u32>>,
    log: Log,
}

impl Actor for Spinner {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        let mut starts = self.starts.borrow_mut();
        *starts += 1;
        if *starts < 100_000 {
            ctx.stop();
        } else {
            self.log.borrow_mut().push("spinner gave in".into());
        }
    }
}

impl Supervised for Spinner {}

#[test]
fn stopping_in_started_lets_no_other_task_run() {
    run_paused(|| async {
        let (log, starts) = (Log::default(), Rc::default());
        let spinner_log = log.clone();
        let _addr = Supervisor::start(move |_| Spinner { starts, log: spinner_log });
        let other = log.clone();
        tokio::task::spawn_local(async move { other.borrow_mut().push("other".into()) });
        settle().await;
        assert_eq!(*log.borrow(), ["spinner gave in", "other"]);
    });
}

#[test]
fn the_end_of_the_system_runs_stopped_on_living_actors() {
    let log = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    struct Last(std::sync::Arc<std::sync::Mutex<Vec<&'static str>>>);
    impl Actor for Last {
        type Context = Context<Self>;
        fn stopped(&mut self, _: &mut Self::Context) {
            self.0.lock().unwrap().push("stopped");
        }
    }
    let system = System::new();
    let inner = log.clone();
    system.block_on(async move {
        let addr = Last(inner).start();
        std::mem::forget(addr);
        System::current().stop();
    });
    system.run().unwrap();
    assert_eq!(*log.lock().unwrap(), ["stopped"]);
}

#[test]
fn run_interval_catches_up_in_a_burst_after_a_stall() {
    run(|| async {
        let log = Log::default();
        let addr = supervised(&log);
        addr.send(Do(|_, ctx| {
            ctx.run_interval(Duration::from_millis(20), |act, _| act.count += 1);
        }))
        .await
        .unwrap();
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_millis(400) {}
        tokio::time::sleep(Duration::from_millis(5)).await;
        let ticks = addr.send(Add(0)).await.unwrap();
        assert!(ticks >= 10, "only {ticks} of the missed ticks were fired back to back");
    });
}
