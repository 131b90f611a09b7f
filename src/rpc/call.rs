//! A non-blocking call that borrows its Mux, with which the tests and the model checkers make calls as the
//! Rust and the C interface do.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::core::CallId;
use crate::sched::Sched;
use crate::sched::native::Native;

use super::{Error, Finished, Mux, Transport};

impl<T: Transport<Watch = ()>, S: Sched> Mux<T, S> {
    /// Sends `request` without waiting for its reply, and returns the call.
    ///
    /// This may block until the caller has the turn to send, and in [`send`](Transport::send). It does not
    /// wait for a tag: a program must limit its concurrent calls to the number of tags. This may be
    /// called from any number of threads at once.
    ///
    /// # Errors
    /// As [`rpc`](Mux::rpc), except that [`Error::NoTag`] is returned immediately if all tags are in use.
    ///
    /// # Examples
    /// See [`Call`] and [`Finished`].
    pub fn start(&self, request: T::Request) -> Result<Call<'_, T, S>, Error<T::Failure>> {
        let id = self.start_watched(|| request, (), |_, _| ())?;
        Ok(Call { mux: self, id: Some(id) })
    }
}

/// A non-blocking call, returned by [`Mux::start`]. Dropping it abandons it if it has not completed.
#[must_use = "dropping a call gives it up"]
pub struct Call<'a, T: Transport, S: Sched = Native> {
    mux: &'a Mux<T, S>,
    id: Option<CallId>,
}

impl<T: Transport, S: Sched> Call<'_, T, S> {
    /// Returns the state of the call, after receiving available messages if no other caller is receiving.
    /// Does not wait for a message.
    ///
    /// After the result has been returned, or after [`cancel`](Call::cancel), this returns
    /// [`Error::Ended`].
    pub fn can_finish(&mut self) -> Finished<T::Reply, T::Failure> {
        self.mux.collect_call(&mut self.id)
    }
}

impl<T: Transport> Future for Call<'_, T, Native> {
    type Output = Result<T::Reply, Error<T::Failure>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mux = self.mux;
        mux.poll_call(&mut self.id, context)
    }
}

// A call contains no reference to itself.
impl<T: Transport, S: Sched> Unpin for Call<'_, T, S> {}

impl<T: Transport, S: Sched> Call<'_, T, S> {
    /// Abandons the call, as dropping it does. Does nothing if the call has completed.
    pub fn cancel(&mut self) {
        self.mux.cancel_call(&mut self.id);
    }
}

impl<T: Transport, S: Sched> std::fmt::Debug for Call<'_, T, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("is_over", &self.id.is_none()).finish_non_exhaustive()
    }
}

impl<T: Transport, S: Sched> Drop for Call<'_, T, S> {
    fn drop(&mut self) {
        self.cancel();
    }
}
