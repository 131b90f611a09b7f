//! The procs of muxprocs: the receive proc receives for all callers, and the send proc sends.

/// One of the two procs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcKind {
    Receive,
    Send,
}

/// The state of both procs. A proc is present from the request for it until it exits.
pub(super) struct Procs<H> {
    receive: ProcState,
    send: ProcState,
    /// Wake the procs, while they sleep. They are not in `ProcState`, so that less space is lost to
    /// alignment.
    receive_handle: Option<H>,
    send_handle: Option<H>,
    /// True if a proc has a queued wake-up.
    any_wake_queued: bool,
}

#[derive(Clone, Copy)]
struct ProcState {
    is_present: bool,
    must_stop: bool,
    wake_queued: bool,
}

impl ProcState {
    const ABSENT: ProcState = ProcState { is_present: false, must_stop: false, wake_queued: false };
}

impl<H> Procs<H> {
    /// Returns the state in which both procs are absent.
    pub const fn new() -> Procs<H> {
        Procs {
            receive: ProcState::ABSENT,
            send: ProcState::ABSENT,
            receive_handle: None,
            send_handle: None,
            any_wake_queued: false,
        }
    }

    #[inline]
    fn get(&self, kind: ProcKind) -> (&ProcState, &Option<H>) {
        match kind {
            ProcKind::Receive => (&self.receive, &self.receive_handle),
            ProcKind::Send => (&self.send, &self.send_handle),
        }
    }

    #[inline]
    fn get_mut(&mut self, kind: ProcKind) -> (&mut ProcState, &mut Option<H>) {
        match kind {
            ProcKind::Receive => (&mut self.receive, &mut self.receive_handle),
            ProcKind::Send => (&mut self.send, &mut self.send_handle),
        }
    }

    /// Requests a proc. Returns true if it is absent, so that the driver must start it. A proc that
    /// was to stop keeps running.
    pub fn request_start(&mut self, kind: ProcKind) -> bool {
        let (state, _) = self.get_mut(kind);
        state.must_stop = false;
        !std::mem::replace(&mut state.is_present, true)
    }

    /// Returns true if the proc is present and is not to stop.
    #[inline]
    pub fn is_running(&self, kind: ProcKind) -> bool {
        let (state, _) = self.get(kind);
        state.is_present && !state.must_stop
    }

    #[inline]
    pub fn is_present(&self, kind: ProcKind) -> bool {
        self.get(kind).0.is_present
    }

    /// Records that the proc is about to sleep and can be woken with `handle`.
    pub fn set_asleep(&mut self, kind: ProcKind, handle: H) {
        let (state, asleep) = self.get_mut(kind);
        if state.is_present {
            *asleep = Some(handle);
        }
    }

    /// Queues a wake-up of the proc if it sleeps.
    pub fn queue_wake(&mut self, kind: ProcKind) {
        let (state, asleep) = self.get_mut(kind);
        if asleep.is_some() {
            state.wake_queued = true;
            self.any_wake_queued = true;
        }
    }

    /// Asks the proc to stop, and queues its wake-up if it sleeps.
    pub fn stop(&mut self, kind: ProcKind) {
        self.get_mut(kind).0.must_stop = true;
        self.queue_wake(kind);
    }

    /// Records that the proc has exited, or could not be started.
    pub fn remove(&mut self, kind: ProcKind) {
        let (state, asleep) = self.get_mut(kind);
        *state = ProcState::ABSENT;
        *asleep = None;
    }

    /// Returns true if a proc must be woken.
    #[inline]
    pub fn any_wake_queued(&self) -> bool {
        self.any_wake_queued
    }

    /// Removes all queued wake-ups and returns their handles.
    pub fn take_wakes(&mut self) -> [Option<H>; 2] {
        if !std::mem::take(&mut self.any_wake_queued) {
            return [None, None];
        }
        [ProcKind::Receive, ProcKind::Send].map(|kind| {
            let (state, asleep) = self.get_mut(kind);
            if std::mem::take(&mut state.wake_queued) { asleep.take() } else { None }
        })
    }

    /// Checks invariant 10.
    ///
    /// # Panics
    /// The invariant does not hold.
    #[cfg(any(test, mux_fuzz))]
    pub fn check(&self) {
        for kind in [ProcKind::Receive, ProcKind::Send] {
            let (state, asleep) = self.get(kind);
            assert!(state.is_present || asleep.is_none(), "10: an absent proc sleeps: {kind:?}");
            if state.wake_queued {
                assert!(asleep.is_some(), "10: a proc is awake and is to be woken: {kind:?}");
                assert!(self.any_wake_queued, "10: a wake-up is forgotten: {kind:?}");
            }
        }
    }

    /// Returns true if the proc sleeps and has no queued wake-up.
    #[cfg(any(test, mux_fuzz))]
    pub fn is_asleep(&self, kind: ProcKind) -> bool {
        let (state, asleep) = self.get(kind);
        asleep.is_some() && !state.wake_queued
    }
}
