//! An actor's death notice. actix's supervisor restarts what stops, not what panics; a struct's end,
//! though, always comes.

use actix::{Recipient, WeakRecipient};

use crate::actors::message::{ActorGone, Who};
use crate::actors::send::tell;

/// Kept in an actor: when the actor is dropped, the overseer hears of it.
pub struct DeathNotice {
    who: Who,
    life: u64,
    overseer: WeakRecipient<ActorGone>,
}

impl DeathNotice {
    /// For one life of an actor.
    pub fn new(who: Who, life: u64, overseer: &Recipient<ActorGone>) -> Self {
        Self { who, life, overseer: overseer.downgrade() }
    }
}

impl Drop for DeathNotice {
    fn drop(&mut self) {
        if let Some(overseer) = self.overseer.upgrade() {
            tell(&overseer, ActorGone { who: self.who.clone(), life: self.life });
        }
    }
}
