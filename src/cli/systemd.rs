//! What the service manager is told: ready, reading again, ending, and that every actor answers. Without one that
//! listens, nothing is said.

use std::time::Duration;

use actix::Addr;
use sd_notify::NotifyState;
use slog::{Logger, error};

use crate::actors::message::Ping;
use crate::actors::overseer::OverseerActor;

/// Everything runs.
pub fn ready() {
    say(&[NotifyState::Ready]);
}

/// The configuration is being read again; [`ready`] says when that has ended.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        say(&[NotifyState::Reloading, now]);
    }
}

/// It was told to end.
pub fn stopping() {
    say(&[NotifyState::Stopping]);
}

/// Feeds the watchdog, if there is one, while every actor answers: twice in its time.
pub async fn feed_watchdog(overseer: Addr<OverseerActor>, log: Logger) {
    let mut microseconds = 0;
    if !sd_notify::watchdog_enabled(false, &mut microseconds) {
        return;
    }
    let mut beat = tokio::time::interval(Duration::from_micros(microseconds) / 2);
    loop {
        beat.tick().await;
        match overseer.send(Ping).await {
            Ok(Ok(())) => say(&[NotifyState::Watchdog]),
            Ok(Err(why)) => error!(log, "The watchdog is not fed"; "why" => why),
            Err(_) => return,
        }
    }
}

fn say(states: &[NotifyState<'_>]) {
    // A manager that can't be told finds out by itself.
    drop(sd_notify::notify(false, states));
}
