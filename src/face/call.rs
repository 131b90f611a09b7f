//! A call that has been sent and has not completed, without the multiplexor to which it belongs.

use std::task::{Context, Poll};

use super::halves::Failure;
use super::mux::Mux;
use super::{Error, Message, Receiver, Sender};
use crate::core::CallId;
use crate::rpc::{self, Finished};

/// The call. Each method must be called with the multiplexor with which the call was started, and the owner
/// must cancel a call that it drops.
pub(super) struct PendingCall {
    /// `None` if the result has been returned, or the call has been cancelled.
    id: Option<CallId>,
    tag: u32,
}

impl PendingCall {
    /// Sends the request. If no tag is free, this returns [`Error::NoTag`] and leaves the request.
    pub fn start<S: Sender, R: Receiver>(
        mux: &Mux<S, R>,
        request: &mut Option<S::Request>,
    ) -> Result<PendingCall, Error> {
        let mut call = PendingCall { id: None, tag: 0 };
        let mut taken = request.take();
        let started = mux.guarded(|inner| {
            let mut body = || taken.take().expect("the request is taken once");
            inner.start_watched(|| Message::untagged(body()), (), |_, tag| call.tag = tag)
        });
        *request = taken;
        match started {
            Ok(id) => {
                call.id = Some(id);
                Ok(call)
            }
            Err(error) => Err(mux.error(error)),
        }
    }

    pub fn tag(&self) -> Option<u32> {
        self.id.map(|_| self.tag)
    }

    pub fn try_finish<S: Sender, R: Receiver>(
        &mut self,
        mux: &Mux<S, R>,
    ) -> Poll<Result<R::Reply, Error>> {
        if self.id.is_none() {
            return Poll::Ready(Err(Error::Finished));
        }
        let finished = mux.guarded(|inner| inner.collect_call(&mut self.id));
        mux.halves().tag_wait.wake_freed();
        match finished {
            Finished::Pending => Poll::Pending,
            Finished::Reply(reply) => Poll::Ready(finish(mux, Ok(reply))),
            Finished::Failed(error) => Poll::Ready(finish(mux, Err(error))),
        }
    }

    pub fn poll<S: Sender, R: Receiver>(
        &mut self,
        mux: &Mux<S, R>,
        context: &mut Context<'_>,
    ) -> Poll<Result<R::Reply, Error>> {
        if self.id.is_none() {
            return Poll::Ready(Err(Error::Finished));
        }
        let polled = mux.guarded(|inner| inner.poll_call(&mut self.id, context));
        mux.halves().tag_wait.wake_freed();
        polled.map(|result| finish(mux, result))
    }

    pub fn cancel<S: Sender, R: Receiver>(&mut self, mux: &Mux<S, R>) {
        if self.id.is_some() {
            mux.inner().cancel_call(&mut self.id);
        }
    }
}

/// Returns the result of a call. A reply has freed its tag when it arrived.
fn finish<S: Sender, R: Receiver>(
    mux: &Mux<S, R>,
    result: Result<Message<R::Reply>, rpc::Error<Failure>>,
) -> Result<R::Reply, Error> {
    match result {
        Ok(reply) => Ok(reply.body),
        Err(error) => {
            mux.halves().tag_wait.wake_one();
            Err(mux.error(error))
        }
    }
}
