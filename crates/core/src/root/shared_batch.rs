//! The Batch that Mirrors in step share: made once, and never handed out again after a failure.

use std::sync::Arc;

use crate::data::change::{AssignmentId, Epoch};
use crate::data::ids::MirrorId;
use crate::root::batch::Made;

/// Who asked, and for which work.
pub type Asker = (MirrorId, AssignmentId);

/// The newest shared Batch, and who waits for it.
#[derive(Debug, Default)]
pub struct SharedBatch {
    span: Option<Span>,
    /// Counts the looks at the disk, so that one from before a failure is told from one after it.
    making: u64,
    made: Option<Arc<Made>>,
    waiting: Vec<Asker>,
}

/// The Cursor above which a Batch begins, and the Epoch up to which it goes.
pub type Span = (Epoch, Epoch);

/// What to do for somebody who asks.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// Here it is.
    Made(Arc<Made>),
    /// It is being made; [`SharedBatch::handle_made`] will name the asker.
    Wait,
    /// Make it. Whoever waited for another one gets nothing.
    Make {
        /// To be named when it is made.
        making: u64,
        /// To be told that there is nothing.
        forgotten: Vec<Asker>,
    },
}

impl SharedBatch {
    /// Somebody needs exactly this span.
    pub fn handle_ask(&mut self, span: Span, asker: Asker) -> Answer {
        if self.span == Some(span) {
            if let Some(made) = &self.made {
                return Answer::Made(made.clone());
            }
            self.waiting.push(asker);
            return Answer::Wait;
        }
        let forgotten = self.forget();
        self.span = Some(span);
        Answer::Make { making: self.making, forgotten }
    }

    /// A Batch was made. Returns who waits for it too: nobody, if it was forgotten meanwhile.
    pub fn handle_made(&mut self, making: u64, made: &Arc<Made>) -> Vec<Asker> {
        if self.making != making {
            return Vec::new();
        }
        self.made = Some(made.clone());
        std::mem::take(&mut self.waiting)
    }

    /// The disk is to be looked at anew: something failed, or the source is another one. Returns who
    /// waited in vain.
    pub fn forget(&mut self) -> Vec<Asker> {
        let making = self.making + 1;
        std::mem::replace(self, Self { making, ..Self::default() }).waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = (Epoch(1), Epoch(2));

    fn asker(host: &str) -> Asker {
        (MirrorId::new(&"site".into(), &host.into()), AssignmentId(1))
    }

    fn make(shared: &mut SharedBatch, span: Span) -> (u64, Vec<Asker>) {
        match shared.handle_ask(span, asker("a")) {
            Answer::Make { making, forgotten } => (making, forgotten),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn hard_case_9_mirrors_in_step_share_a_batch() {
        let mut shared = SharedBatch::default();
        let (making, _) = make(&mut shared, SPAN);
        assert_eq!(shared.handle_ask(SPAN, asker("b")), Answer::Wait);
        let batch = Arc::new(Made::default());
        assert_eq!(shared.handle_made(making, &batch), [asker("b")]);
        let Answer::Made(third) = shared.handle_ask(SPAN, asker("c")) else { panic!("made") };
        assert!(Arc::ptr_eq(&third, &batch));
    }

    #[test]
    fn hard_case_9_a_retry_makes_a_new_batch() {
        let mut shared = SharedBatch::default();
        let (first, _) = make(&mut shared, SPAN);
        shared.handle_made(first, &Arc::new(Made::default()));
        shared.forget();
        let (second, _) = make(&mut shared, SPAN);
        shared.forget();
        let (third, _) = make(&mut shared, SPAN);
        assert_eq!(shared.handle_ask(SPAN, asker("b")), Answer::Wait);
        // The second look at the disk comes back late: it is older than the last failure.
        assert_eq!(shared.handle_made(second, &Arc::new(Made::default())), []);
        assert_eq!(shared.handle_made(third, &Arc::new(Made::default())), [asker("b")]);
    }

    #[test]
    fn who_waits_for_another_span_is_not_forgotten_silently() {
        let mut shared = SharedBatch::default();
        make(&mut shared, SPAN);
        shared.handle_ask(SPAN, asker("b"));
        let (_, forgotten) = make(&mut shared, (Epoch(1), Epoch(3)));
        assert_eq!(forgotten, [asker("b")]);
    }
}
