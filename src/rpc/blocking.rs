//! One blocking call, from its tag to its reply.
//!
//! A caller is in one place at a time: getting a tag, getting the turn to send, in `send`, in `recv`
//! for all, or asleep. Wherever it sleeps, what it is told says where it goes on.

use crate::core::{Begun, CallId, HELP, Queued, Step, Told};
use crate::sched::Sched;

use super::{Error, Locked, Mux, Over, State, Transport};

/// How a call got the turn to send, or else ended.
pub(super) enum Turn<T: Transport> {
    /// It is this caller's; here is the request.
    Mine(T::Request),
    /// Another has sent it, or will not, and this is what came of it.
    Elsewhere(Told<Over<T>>),
    /// Another has sent it, and the call is over.
    Over(Step<Over<T>>),
}

/// What a call that is over answers.
fn outcome<T: Transport>(over: Step<Over<T>>) -> Result<T::Reply, Error<T::Failure>> {
    match over {
        Step::Reply(reply) => Ok(reply),
        Step::Failed(failure) => Err(Error::Failed(failure)),
        _ => Err(Error::Ended),
    }
}

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Sends `request` and waits for its reply.
    ///
    /// The caller may find itself receiving for others while it waits.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::Failed`], [`Error::EmptyRange`] or [`Error::NoMemory`]. When all
    /// tags are taken, it waits for one.
    pub fn rpc(&self, mut request: T::Request) -> Result<T::Reply, Error<T::Failure>> {
        let (mut state, begun) = self.begin(None)?;
        let id = begun.id;
        let tag = match begun.tag {
            Some(tag) => {
                self.release(state);
                tag
            }
            None => {
                let step = state.step(id, self.transport.range());
                self.wait_for_tag(state, id, step)?
            }
        };
        self.put_tag(id, &mut request, tag)?;
        if !begun.turn {
            match self.turn(id, request) {
                Turn::Mine(mine) => request = mine,
                Turn::Elsewhere(told) => return self.told(id, told),
                Turn::Over(over) => return outcome(over),
            }
        }
        let (result, began) = self.send(request);
        let mut state = self.state.lock();
        let mut step = state.sent(id, result, began, self.transport.range());
        if let Step::Help(..) = step {
            (state, step) = self.help(state, id, step);
        }
        if let Step::Sleep = step {
            let told = self.sleep(state, |core, wake| core.sleeps(id, wake));
            return self.told(id, told);
        }
        self.release(state);
        match step {
            Step::Receive => self.receive_until_over(id),
            over => outcome(over),
        }
    }

    /// Begins a call. The state is locked on return.
    #[inline]
    pub(super) fn begin(
        &self,
        watch: Option<T::Watch>,
    ) -> Result<Locked<'_, T, S, Begun>, Error<T::Failure>> {
        let mut state = self.state.lock();
        match state.begin(self.transport.range(), watch) {
            Ok(begun) => Ok((state, begun)),
            Err(refused) => {
                // Others may have got tags all the same.
                self.release(state);
                Err(refused.into())
            }
        }
    }

    /// Sends some of what others have left in the queue, with the turn that call `id` has.
    #[cold]
    fn help<'a>(
        &'a self,
        mut state: State<'a, T, S>,
        id: CallId,
        mut step: Step<Over<T>>,
    ) -> Locked<'a, T, S, Step<Over<T>>> {
        let mut helped = 0;
        while let Step::Help(other, request) = step {
            self.release(state);
            let (result, began) = self.send(request);
            helped += 1;
            state = self.state.lock();
            let range = self.transport.range();
            step = state.helped(id, helped < HELP, other, result, began, range);
        }
        (state, step)
    }

    /// Puts the tag into the request; one that does not take it is not sent.
    #[inline]
    pub(super) fn put_tag(
        &self,
        id: CallId,
        request: &mut T::Request,
        tag: u32,
    ) -> Result<(), Error<T::Failure>> {
        self.transport.set_tag(request, tag).map_err(|failure| self.abandon(id, failure))
    }

    #[cold]
    fn abandon(&self, id: CallId, failure: T::Failure) -> Error<T::Failure> {
        let mut state = self.state.lock();
        let orphan = state.abandon(id, self.transport.range());
        self.release(state);
        if let Some(orphan) = orphan {
            self.transport.orphan(orphan);
        }
        Error::Failed(failure)
    }

    /// Waits for a tag, receiving for all while nobody else does.
    #[cold]
    fn wait_for_tag<'a>(
        &'a self,
        mut state: State<'a, T, S>,
        id: CallId,
        mut step: Step<Over<T>>,
    ) -> Result<u32, Error<T::Failure>> {
        loop {
            match step {
                Step::Tagged(tag) => {
                    self.release(state);
                    return Ok(tag);
                }
                Step::Sleep => match self.sleep(state, |core, wake| core.sleeps(id, wake)) {
                    Told::Tag(tag) => return Ok(tag),
                    Told::NoTags => return Err(Error::EmptyRange),
                    Told::AllHeld => return Err(Error::NoTag),
                    // Perhaps a tag has come free on the way.
                    Told::Receive => state = self.state.lock(),
                    _ => return Err(Error::Ended),
                },
                Step::Receive => {
                    self.release(state);
                    state = self.receive();
                }
                Step::NoTags => {
                    self.release(state);
                    return Err(Error::EmptyRange);
                }
                _ => {
                    self.release(state);
                    return Err(Error::Ended);
                }
            }
            step = state.step(id, self.transport.range());
        }
    }

    /// Gets the turn to send, or has the send proc send.
    #[cold]
    pub(super) fn turn(&self, id: CallId, request: T::Request) -> Turn<T> {
        let mut state = self.state.lock();
        let mut queued = state.queue(id, request, self.transport.range());
        loop {
            match queued {
                Queued::Go(request) => {
                    self.release(state);
                    return Turn::Mine(request);
                }
                Queued::HungUp => {
                    self.release(state);
                    return Turn::Elsewhere(Told::Ended);
                }
                Queued::Sleep => match self.sleep(state, |core, wake| core.sleeps(id, wake)) {
                    Told::Turn(request) => return Turn::Mine(request),
                    Told::Receive => {
                        // Nobody else is left who could; another has the request in hand.
                        state = self.state.lock();
                        loop {
                            match state.step(id, self.transport.range()) {
                                Step::Sleep => break,
                                Step::Receive => {
                                    self.release(state);
                                    state = self.receive();
                                }
                                over => {
                                    self.release(state);
                                    return Turn::Over(over);
                                }
                            }
                        }
                        queued = Queued::Sleep;
                    }
                    told => return Turn::Elsewhere(told),
                },
            }
        }
    }

    /// Goes on from what this caller, whose request has been sent, was told.
    fn told(&self, id: CallId, told: Told<Over<T>>) -> Result<T::Reply, Error<T::Failure>> {
        match told {
            Told::Reply(reply) => Ok(reply),
            Told::Failed(failure) => Err(Error::Failed(failure)),
            Told::Receive => self.takes_over(id),
            _ => Err(Error::Ended),
        }
    }

    /// The muxer's role has come to this caller, whose call may be over by now.
    fn takes_over(&self, id: CallId) -> Result<T::Reply, Error<T::Failure>> {
        let mut state = self.state.lock();
        let step = state.step(id, self.transport.range());
        self.release(state);
        match step {
            Step::Receive => self.receive_until_over(id),
            over => outcome(over),
        }
    }

    /// Receives for all until this caller's own call is over.
    #[inline]
    fn receive_until_over(&self, id: CallId) -> Result<T::Reply, Error<T::Failure>> {
        loop {
            let mut state = self.receive();
            let step = state.step(id, self.transport.range());
            self.release(state);
            match step {
                Step::Receive => {}
                over => return outcome(over),
            }
        }
    }
}
