//! Messages by hand: one sent or received outside any call, in turn with the calls.

use crate::core::{Action, ReceiverGrant, Wakeup};
use crate::sched::Sched;
use crate::sched::clock::NEVER;

use super::blocking::TurnResult;
use super::waiting::Waited;
use super::{Error, Mux, Polled, Transport};

/// How many messages at most are looked for on behalf of a call that found no tag.
const MAX_RECEIVED: u32 = 64;

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Sends `request` as it is, when its turn comes, and forgets it: a message that is no call, such as
    /// an answer to what the server has asked.
    ///
    /// ```
    /// # mod echo { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/echo.rs")); }
    /// # use echo::*;
    /// let mux = mux::Mux::new(Echo::default());
    /// mux.send_message((77, "for whom it may concern".to_string())).unwrap();
    /// let message = mux.receive_message(true).unwrap();
    /// assert_eq!(message, Some((77, "for whom it may concern".to_string())));
    /// ```
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::NoMemory`], or [`Error::Ended`] if the connection ended first.
    pub fn send_message(&self, request: T::Request) -> Result<(), Error<T::Failure>> {
        let id = self.lock().begin_message()?;
        let request = match self.wait_for_turn(id, request, NEVER) {
            TurnResult::Granted(request) => request,
            TurnResult::Resolved(Waited::Wakeup(Wakeup::Sent)) => return Ok(()),
            TurnResult::Resolved(Waited::Wakeup(Wakeup::Failed(failure))) => {
                return Err(Error::Failed(failure));
            }
            TurnResult::Resolved(_) => return Err(Error::Ended),
        };
        let (result, epoch) = self.send(request, false);
        let mut state = self.lock();
        let step = state.handle_sent(id, result, epoch);
        self.release(state);
        match step {
            Action::Failed(failure) => Err(Error::Failed(failure)),
            _ => Ok(()),
        }
    }

    /// Takes what messages there are to their calls, without waiting, unless somebody receives.
    pub(super) fn receive_available(&self) {
        let seat = self.lock().begin_receive(false);
        let Ok((id, ReceiverGrant::Granted)) = seat else { return };
        let mut received = 0;
        let mut state = loop {
            match self.transport.try_recv() {
                Polled::Message(reply) => {
                    let state = self.dispatch_message(reply);
                    received += 1;
                    // A server that never stops does not keep the caller here.
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

    /// Receives one message, whosever it is, and gives it to the caller rather than to its call.
    /// With `wait` it waits for the role and for the message; without, it looks.
    ///
    /// # Errors
    /// [`Error::Busy`] under procs, [`Error::Ended`], [`Error::Stuck`] when the transport can not
    /// look without waiting, [`Error::NoMemory`].
    pub fn receive_message(&self, wait: bool) -> Result<Option<T::Reply>, Error<T::Failure>> {
        let mut state = self.lock();
        let (id, seat) = state.begin_receive(wait)?;
        match seat {
            ReceiverGrant::Granted => self.release(state),
            ReceiverGrant::Denied => return Err(Error::Busy),
            ReceiverGrant::Wait if !wait => return Ok(None),
            ReceiverGrant::Wait => {
                match self.sleep(state, |core, wake| core.set_asleep(id, wake)) {
                    Wakeup::Receive => {}
                    Wakeup::Busy => return Err(Error::Busy),
                    _ => return Err(Error::Ended),
                }
            }
        }
        let can = wait || self.transport.can_try();
        let polled = match wait {
            true => self.transport.recv().map_or(Polled::Ended, Polled::Message),
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
