//! Single messages that belong to no call. They are sent and received in turn with the calls.

use crate::core::{ReceiverGrant, Wakeup};
use crate::sched::Sched;
use crate::sched::clock::NEVER;

use super::blocking::Waited;
use super::{Error, Mux, Polled, Transport};

/// Maximum number of messages that are received on behalf of a call that found no free tag.
const MAX_RECEIVED: u32 = 64;

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Waits for the turn to send and sends `request` unchanged. The message belongs to no call and has
    /// no reply. Use this to reply to a request from the server, for example.
    ///
    /// This may be called from any number of threads at once.
    ///
    /// # Errors
    /// * [`Error::Failed`]: the transport could not send the message.
    /// * [`Error::NoMemory`]: no memory is available for another message.
    /// * [`Error::HungUp`]: [`hang_up`](Mux::hang_up) was called earlier.
    /// * [`Error::Ended`]: the connection ended, or was hung up, before the message was sent.
    pub fn send_message(&self, request: T::Request) -> Result<(), Error<T::Failure>> {
        let id = self.with_locked(|machine| machine.begin_message())?;
        let request = match self.wait_for_turn(id, request, NEVER) {
            Waited::Turn(request) => request,
            Waited::Sent => return Ok(()),
            waited => return Err(waited.into_error()),
        };
        let (result, epoch) = self.send(request, false);
        let action = self.with_locked_and_range(|machine| machine.handle_sent(id, result, epoch));
        match Waited::from_action(action) {
            Waited::Sent => Ok(()),
            waited => Err(waited.into_error()),
        }
    }

    /// Receives and dispatches the messages that are available, at most [`MAX_RECEIVED`], without
    /// waiting. Does nothing if another caller is receiving.
    pub(crate) fn receive_available(&self) {
        let seat = self.with_locked(|machine| machine.begin_receive(false));
        let Ok((id, ReceiverGrant::Granted)) = seat else { return };
        let mut received = 0;
        let mut state = loop {
            match self.transport.try_recv() {
                Polled::Message(reply) => {
                    let state = self.dispatch_message(reply);
                    received += 1;
                    // The bound lets the caller leave although the server sends continuously.
                    if received == MAX_RECEIVED {
                        break state;
                    }
                    self.release(state);
                }
                Polled::Nothing => break self.lock(),
                Polled::Ended => break self.handle_disconnect(),
            }
        };
        state.end_receive(id);
        self.release(state);
    }

    /// Receives one message and returns it to the caller instead of dispatching it to its call.
    ///
    /// If `wait` is true, waits for the receiver role and for a message. Otherwise polls the transport
    /// once, and returns `Ok(None)` if no message is available or another caller is receiving.
    ///
    /// This may be called from any number of threads at once.
    ///
    /// # Errors
    /// * [`Error::Busy`]: a receive proc receives all messages.
    /// * [`Error::HungUp`]: [`hang_up`](Mux::hang_up) was called earlier.
    /// * [`Error::Ended`]: the connection ended, or was hung up, while the caller waited.
    /// * [`Error::Stuck`]: `wait` is false and the transport cannot poll
    ///   ([`can_try`](Transport::can_try)).
    /// * [`Error::NoMemory`]: no memory is available to register the caller.
    pub fn receive_message(&self, wait: bool) -> Result<Option<T::Reply>, Error<T::Failure>> {
        let mut state = self.lock();
        let grant = state.begin_receive(wait);
        let id = match grant {
            Ok((id, ReceiverGrant::Wait)) if wait => {
                match self.sleep(state, |machine, wake| machine.set_asleep(id, wake)) {
                    Wakeup::Receive => id,
                    Wakeup::Busy => return Err(Error::Busy),
                    _ => return Err(Error::Ended),
                }
            }
            grant => {
                self.release(state);
                match grant? {
                    (id, ReceiverGrant::Granted) => id,
                    (_, ReceiverGrant::Denied) => return Err(Error::Busy),
                    (_, ReceiverGrant::Wait) => return Ok(None),
                }
            }
        };
        let can = wait || self.transport.can_try();
        let polled = match wait {
            true => self.transport.recv_single().map_or(Polled::Ended, Polled::Message),
            false if can => self.transport.try_recv(),
            false => Polled::Ended,
        };
        let ended = matches!(polled, Polled::Ended) && can;
        let mut state = if ended { self.handle_disconnect() } else { self.lock() };
        state.end_receive(id);
        self.release(state);
        match polled {
            Polled::Message(reply) => Ok(Some(reply)),
            Polled::Nothing => Ok(None),
            Polled::Ended if can => Err(Error::Ended),
            Polled::Ended => Err(Error::Stuck),
        }
    }
}
