//! The one way to send without waiting for an answer.

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};

/// Sends past the mailbox's capacity: what may be on its way at once is bounded by the protocol (one
/// answer for each question, one `Changed` for each kernel read), not by the mailbox. If the receiver
/// has died the message is lost, and the overseer knows.
#[expect(clippy::disallowed_methods, reason = "this is the place that the lint points to")]
pub fn tell<M>(recipient: &Recipient<M>, message: M)
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    recipient.do_send(message);
}

/// The same to an actor whose type is known.
#[expect(clippy::disallowed_methods, reason = "this is the place that the lint points to")]
pub fn tell_actor<A, M>(address: &Addr<A>, message: M)
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    address.do_send(message);
}
