//! The shell that every actor is around its rule: feed it, carry out its effects, arm one wake-up.

use actix::prelude::*;

use mirrorball_core::data::moment::Moment;
use mirrorball_core::machine::Rule;

/// An actor around a rule.
pub trait Shell: Actor<Context = Context<Self>> {
    /// The rule.
    type Rule: Rule;

    /// The rule; none while there is nothing to rule over.
    fn rule(&mut self) -> Option<&mut Self::Rule>;

    /// When the armed wake-up fires.
    fn wake(&mut self) -> &mut Option<Moment>;

    /// The clock.
    fn now(&self) -> Moment;

    /// Does what the rule wants done.
    fn carry_out(&mut self, effect: <Self::Rule as Rule>::Effect, ctx: &mut Context<Self>);

    /// All effects have been carried out.
    fn after_effects(&mut self, ctx: &mut Context<Self>);

    /// Feeds the rule, and does all that follows.
    fn turn(&mut self, ctx: &mut Context<Self>, input: impl FnOnce(&mut Self::Rule, Moment)) {
        let now = self.now();
        let Some(rule) = self.rule() else { return };
        rule.handle_timeout(now);
        input(rule, now);
        while let Some(effect) = self.rule().and_then(Rule::poll_effect) {
            self.carry_out(effect, ctx);
        }
        self.after_effects(ctx);
        self.arm(ctx);
    }

    /// Wake-ups are never cancelled: a superseded one fires and changes nothing.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let now = self.now();
        let Some(due) = self.rule().and_then(|rule| rule.poll_timeout(now)) else { return };
        if self.wake().is_some_and(|armed| armed <= due) {
            return;
        }
        *self.wake() = Some(due);
        ctx.run_later(due - now, |act, ctx| {
            *act.wake() = None;
            act.turn(ctx, |_, _| ());
        });
    }
}
