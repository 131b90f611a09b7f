//! SIGTERM and SIGINT, as bytes to be read. SIGHUP does nothing: who posts a service and logs out wants
//! it to stay.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

/// Where a byte comes for each signal that is to end the program.
pub fn subscribe() -> io::Result<UnixStream> {
    let (end, handler) = UnixStream::pair()?;
    end.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGTERM, handler.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGINT, handler)?;
    Ok(end)
}

/// Returns a stream that receives a byte for each SIGCHLD.
pub fn subscribe_child() -> io::Result<UnixStream> {
    let (end, handler) = UnixStream::pair()?;
    end.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(SIGCHLD, handler)?;
    Ok(end)
}

/// From now on SIGHUP does nothing.
pub fn ignore_hangup() -> io::Result<()> {
    // Caught, and not ignored: programs that are started here would inherit that.
    signal_hook::flag::register(SIGHUP, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

/// How many have come since the last time.
pub fn take_count(signals: &mut UnixStream) -> u32 {
    let (mut bytes, mut count) = ([0; 16], 0);
    loop {
        match signals.read(&mut bytes) {
            Ok(n) if n > 0 => count += n as u32,
            _ => return count,
        }
    }
}
