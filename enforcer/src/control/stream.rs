//! Events as a response body: JSON, one line per event.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::HttpBody;
use bytes::{Bytes, BytesMut};
use hyper::body::Frame;

use crate::events::hub::{Batch, Follower};

/// Most events that are handed to a connection at once: some 64 KiB.
const EVENTS: usize = 64;

/// The body for a follower.
#[derive(Debug)]
pub(super) struct Stream(pub(super) Follower);

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frames = self.0.wants_frames();
        let mut chunk = BytesMut::new();
        match ready!(self.0.poll_next(cx, EVENTS)) {
            None => return Poll::Ready(None),
            Some(Batch::Past(events)) => {
                events.iter().for_each(|event| event.put(frames, &mut chunk));
            }
            Some(Batch::New(events)) => {
                events.iter().for_each(|event| chunk.extend_from_slice(event.json(frames)));
            }
        }
        if chunk.is_empty() {
            // None of this batch matched: yield to other tasks.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))))
    }
}
