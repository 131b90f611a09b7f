//! Signals as bytes to be read: SIGTERM and SIGINT end 9pmux, SIGCHLD reports the end of a server that was
//! started. SIGHUP does nothing, so a service keeps running after its user has logged out.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGTSTP};

/// The signals that end the program.
pub struct Signals {
    stream: UnixStream,
    interrupted: Arc<AtomicBool>,
}

impl Signals {
    /// Handles SIGTERM and SIGINT from now on.
    pub fn subscribe() -> io::Result<Signals> {
        let (stream, handler) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        let interrupted = Arc::new(AtomicBool::new(false));
        // Before the byte is sent, so that its reader finds the flag set.
        signal_hook::flag::register(SIGINT, interrupted.clone())?;
        signal_hook::low_level::pipe::register(SIGTERM, handler.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGINT, handler)?;
        Ok(Signals { stream, interrupted })
    }

    /// The descriptor that is readable after a signal.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Returns the number of signals since the last call.
    pub fn take_count(&mut self) -> u32 {
        take_count(&mut self.stream)
    }

    /// The name of the signal that was received, for the log.
    pub fn name(&self) -> &'static str {
        match self.interrupted.load(Ordering::SeqCst) {
            true => "SIGINT",
            false => "SIGTERM",
        }
    }
}

/// Returns a stream that receives a byte for each SIGCHLD.
pub fn subscribe_child() -> io::Result<UnixStream> {
    let (end, handler) = UnixStream::pair()?;
    end.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, handler)?;
    Ok(end)
}

/// Makes SIGHUP do nothing from now on.
pub fn ignore_hangup() -> io::Result<()> {
    // Handled, not ignored: programs that are started later would inherit an ignored signal.
    signal_hook::flag::register(SIGHUP, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

/// Makes SIGTSTP do nothing from now on.
pub fn ignore_stop() -> io::Result<()> {
    signal_hook::flag::register(SIGTSTP, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

/// Consumes the bytes that signals have written, and returns their number.
pub fn take_count(signals: &mut UnixStream) -> u32 {
    let (mut bytes, mut count) = ([0; 16], 0);
    loop {
        match signals.read(&mut bytes) {
            Ok(n) if n > 0 => count += n as u32,
            _ => return count,
        }
    }
}
