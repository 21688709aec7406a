//! Slow answers are built on separate threads, outside the core's loop. The loop only hands over their
//! input, which is shared and immutable.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use super::active::Active;
use super::time::Dates;
use crate::api::PolicyBundle;
use crate::control::{Answer, Rank};
use crate::policy::write;

/// Answers built at a time for viewers, on a single thread.
const VIEWERS: usize = 1;
/// Answers built at a time for root and operators.
const OPERATORS: usize = 4;
/// How long the active policy's text is kept after the last request for it.
const KEEP: Duration = Duration::from_secs(10);

/// Limits on threads for answers, by role.
#[derive(Clone, Debug)]
pub(super) struct Aside {
    viewers: Arc<Semaphore>,
    operators: Arc<Semaphore>,
}

impl Default for Aside {
    fn default() -> Self {
        let turns = |most| Arc::new(Semaphore::new(most));
        Self { viewers: turns(VIEWERS), operators: turns(OPERATORS) }
    }
}

impl Aside {
    /// The permits of this role.
    pub(super) fn turns(&self, rank: Rank) -> Arc<Semaphore> {
        match rank {
            Rank::Viewer => Arc::clone(&self.viewers),
            Rank::Operator => Arc::clone(&self.operators),
        }
    }

    /// Builds an answer on a separate thread once a permit is free, unless the client has disconnected by
    /// then.
    pub(super) fn answer(
        &self,
        rank: Rank,
        reply: oneshot::Sender<Answer>,
        make: impl FnOnce() -> Answer + Send + 'static,
    ) {
        let turns = self.turns(rank);
        tokio::spawn(async move {
            let _turn = turns.acquire_owned().await;
            if reply.is_closed() {
                return;
            }
            let work = tokio::task::spawn_blocking(move || drop(reply.send(make())));
            if let Err(e) = work.await {
                log::error!("an answer could not be made: {e}");
            }
        });
    }
}

/// Cache of the active policy as one document, which may have many megabytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown(Arc<Mutex<Option<Text>>>);

#[derive(Debug)]
struct Text {
    /// The policy that the text is of.
    of: Weak<Active>,
    /// Clocks by which the text shows ends on the boot clock.
    dates: Dates,
    text: Bytes,
    asked: Instant,
}

/// Text of a bundle, without copying it.
struct Document(Arc<PolicyBundle>);

impl AsRef<[u8]> for Document {
    fn as_ref(&self) -> &[u8] {
        self.0.text.as_bytes()
    }
}

impl Shown {
    /// The text, if it needs no work: the operator's own document, or one that is still cached.
    pub(super) fn at_once(&self, names: &Arc<Active>, dates: Dates) -> Option<Bytes> {
        if names.live.is_empty() && names.bundle.files.is_empty() {
            return Some(Bytes::from_owner(Document(Arc::clone(&names.bundle))));
        }
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = shown.as_mut().filter(|text| {
            std::ptr::eq(text.of.as_ptr(), Arc::as_ptr(names)) && text.dates.is_like(dates)
        })?;
        text.asked = Instant::now();
        Some(text.text.clone())
    }

    /// The text. Writing a million prefixes takes a second.
    pub(super) fn make(&self, names: &Arc<Active>, dates: Dates) -> Bytes {
        if let Some(text) = self.at_once(names, dates) {
            return text;
        }
        let text = match names.live.as_slice() {
            [] => write(&names.written),
            _ => write(&dates.dated(&names.policy)),
        };
        let text = Bytes::from(text);
        let (of, asked) = (Arc::downgrade(names), Instant::now());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Text { of, dates, text: text.clone(), asked });
        text
    }

    /// Drops a text that was not requested for a while, or whose policy is no longer active.
    pub(super) fn tidy(&self) {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shown.take_if(|text| text.asked.elapsed() > KEEP || text.of.strong_count() == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::active::read_bundle;
    use crate::policy::Host;

    fn active(files: &[(&str, &str)]) -> Arc<Active> {
        let text = match files {
            [] => "schema = 1\n".to_owned(),
            _ => "schema = 1\nsets.feed.file = \"feed\"\n[groups.beds]\nmembers = [\"00:1b:44/24\"]\n\
                  deny = [{ to = \"@feed\" }]\n"
                .to_owned(),
        };
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let bundle = PolicyBundle { text, files: files.collect(), ..PolicyBundle::default() };
        let (policy, problems) = read_bundle(&bundle);
        let host = Host::default();
        Active::compile(bundle.into(), policy.into(), &[], host, problems).unwrap().into()
    }

    #[test]
    fn a_text_is_made_once_and_forgotten_with_what_it_says() {
        let (shown, dates) = (Shown::default(), Dates::default());
        let own = active(&[]);
        let text = shown.at_once(&own, dates).unwrap();
        assert_eq!(text.as_ptr(), own.bundle.text.as_ptr(), "it is no copy");

        let names = active(&[("feed", "192.0.2.0/24\n")]);
        assert_eq!(shown.at_once(&names, dates), None);
        let text = shown.make(&names, dates);
        assert!(text.windows(12).any(|part| part == b"192.0.2.0/24"));
        for _ in 0..64 {
            assert_eq!(shown.at_once(&names, dates).unwrap().as_ptr(), text.as_ptr());
        }
        shown.tidy();
        assert!(shown.at_once(&names, dates).is_some());
        let other = active(&[("feed", "192.0.2.0/24\n")]);
        assert_eq!(shown.at_once(&other, dates), None);
        drop(names);
        shown.tidy();
        assert!(shown.0.lock().unwrap().is_none());
    }

    #[tokio::test]
    async fn who_only_looks_has_one_thread_and_who_has_gone_costs_nothing() {
        let aside = Aside::default();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let (reply, first) = oneshot::channel();
        aside.answer(Rank::Viewer, reply, move || {
            let _ = gate.recv();
            Ok(Bytes::new().into())
        });
        let (reply, gone) = oneshot::channel();
        aside.answer(Rank::Viewer, reply, || unreachable!("nobody waits for it"));
        let (reply, last) = oneshot::channel();
        aside.answer(Rank::Viewer, reply, || Ok(Bytes::from("last").into()));
        drop(gone);
        let (reply, operator) = oneshot::channel();
        aside.answer(Rank::Operator, reply, || Ok(Bytes::from("first").into()));
        let text = |answer: Answer| answer.unwrap().bytes();
        assert_eq!(text(operator.await.unwrap()), "first");
        open.send(()).unwrap();
        assert!(text(first.await.unwrap()).is_empty());
        assert_eq!(text(last.await.unwrap()), "last");
    }
}
