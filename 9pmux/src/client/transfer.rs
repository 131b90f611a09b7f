//! A read or a write as a future.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mux::Response;
use mux::framed::{FramedReceiver, FramedSender, Stream};

use super::codec::ClientCodec;
use super::fids::Fid;
use super::message::{Reader, Writer};
use super::{Client, Error, File, ServerStream};

type Pending = Response<
    FramedSender<ClientCodec, Stream<ServerStream>>,
    FramedReceiver<ClientCodec, Stream<ServerStream>>,
>;

/// The future of [`File::start_read`](super::File::start_read) or
/// [`File::start_write`](super::File::start_write). It sends its request when it is first polled. Dropping it
/// before the reply has arrived sends a Tflush, without waiting for the Rflush.
#[must_use = "the request is sent when the future is polled"]
pub struct Transfer<V> {
    client: Client,
    /// No other file has the number of this fid while the request can still be sent.
    _fid: Arc<Fid>,
    /// The id of the request.
    id: u64,
    /// The type of the request.
    kind: u8,
    response: Option<Pending>,
    /// Returns the result of the reply.
    result: fn(Reader<'_>) -> Result<V, Error>,
}

impl<V> Transfer<V> {
    pub(super) fn new(
        file: &File,
        message: Writer,
        kind: u8,
        result: fn(Reader<'_>) -> Result<V, Error>,
    ) -> Result<Transfer<V>, Error> {
        let (client, fid) = (file.client().clone(), file.fid().clone());
        let request = client.request(message, Some(&fid))?;
        let id = request.id;
        let response = Some(client.shared.mux.call(request));
        Ok(Transfer { client, _fid: fid, id, kind, response, result })
    }
}

impl<V> Future for Transfer<V> {
    type Output = Result<V, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(mux::Error::Finished.into()));
        };
        let Poll::Ready(reply) = Pin::new(response).poll(context) else { return Poll::Pending };
        self.response = None;
        let reply = reply?;
        Poll::Ready(Reader::new(self.kind, &reply).and_then(self.result))
    }
}

// The future contains no reference to itself.
impl<V> Unpin for Transfer<V> {}

impl<V> Drop for Transfer<V> {
    fn drop(&mut self) {
        let Some(response) = self.response.take() else { return };
        let is_sent = response.tag().is_some();
        drop(response);
        if is_sent {
            self.client.flush(self.id);
        }
    }
}

impl<V> fmt::Debug for Transfer<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer").field("kind", &self.kind).finish_non_exhaustive()
    }
}
