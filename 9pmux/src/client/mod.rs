//! A small client of 9P2000, over [`mux::framed`]: many threads and tasks share one connection to a server.
//!
//! ```no_run
//! use ninepmux::client::{Client, OREAD};
//! use std::io::Read;
//! use std::os::unix::net::UnixStream;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(UnixStream::connect("/tmp/ns.glenda.:0/acme")?)?;
//! let root = client.attach("glenda", "")?;
//! let mut index = root.walk("index")?;
//! index.open(OREAD)?;
//! let mut text = String::new();
//! index.read_to_string(&mut text)?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`File`] is a fid. Dropping it clunks the fid, without waiting for the reply. Dropping a [`Transfer`], the
//! future of a read or a write, sends a Tflush for it.
//!
//! Each operation but [`File::start_read`] and [`File::start_write`] blocks its thread. Any thread that waits
//! receives for all of them. Tasks need a receiving thread, which [`Client::spawn`] starts.

mod codec;
mod error;
mod file;
mod message;
mod socket;
mod stat;
mod transfer;

#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mux::framed::{FramedClient, FramedTransport};

use crate::wire::{NOFID, types};
use codec::{ClientCodec, Request};
use message::{Reader, Writer};

pub use error::Error;
pub use file::{File, OEXEC, ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE};
pub use socket::ServerStream;
pub use stat::{Qid, Stat};
pub use transfer::Transfer;

/// The message size that the client asks for, in bytes.
const MSIZE: u32 = 64 << 10;

/// The smallest message size with which the client works, in bytes.
const LEAST_MSIZE: u32 = 256;

/// The version that the client speaks.
const VERSION: &str = "9P2000";

/// A connection to a server. Cloning it is cheap. The connection is shut down when the last clone and the last
/// [`File`] are dropped.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

/// The multiplexor of a connection.
type Mux = FramedClient<ClientCodec, ServerStream>;

#[derive(Debug)]
struct Shared {
    mux: Mux,
    msize: u32,
    next_id: AtomicU64,
    fids: Mutex<Fids>,
}

#[derive(Debug, Default)]
struct Fids {
    /// The first number that no file has had.
    next: u32,
    /// The numbers that the server has clunked.
    free: Vec<u32>,
}

impl Client {
    /// Negotiates the version on a connected socket, and returns a client.
    ///
    /// # Errors
    /// * [`Error::Io`]: the connection has failed.
    /// * [`Error::Protocol`]: the server does not speak 9P2000.
    pub fn connect(stream: impl Into<ServerStream>) -> Result<Client, Error> {
        Client::over(stream.into(), |transport| Ok(mux::Client::new(transport)))
    }

    /// As [`connect`](Client::connect), and starts a thread that receives for all threads and tasks.
    ///
    /// # Errors
    /// As [`connect`](Client::connect).
    pub fn spawn(stream: impl Into<ServerStream>) -> Result<Client, Error> {
        Client::over(stream.into(), mux::Client::spawn)
    }

    fn over(
        stream: ServerStream,
        client: impl FnOnce(FramedTransport<ClientCodec, ServerStream>) -> io::Result<Mux>,
    ) -> Result<Client, Error> {
        let msize = negotiate(&stream)?;
        let mux = client(mux::framed::transport(stream, ClientCodec::new(msize))?)?;
        let next_id = AtomicU64::new(0);
        Ok(Client { shared: Arc::new(Shared { mux, msize, next_id, fids: Mutex::default() }) })
    }

    /// Attaches to a file tree of the server as a user, without authentication, and returns its root.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server refuses it, and the errors of the connection.
    pub fn attach(&self, uname: &str, aname: &str) -> Result<File, Error> {
        let fid = self.new_fid()?;
        let attach = Writer::new(types::TATTACH).u32(fid).u32(NOFID).string(uname).string(aname);
        let reply = self.rpc(attach)?;
        let qid = Qid::read(&mut Reader::new(types::TATTACH, &reply)?)?;
        Ok(File::new(self.clone(), fid, qid))
    }

    /// Returns the maximum size of a message, in bytes.
    #[must_use]
    pub fn msize(&self) -> u32 {
        self.shared.msize
    }

    /// Returns the statistics of the connection.
    #[must_use]
    pub fn stats(&self) -> mux::Stats {
        self.shared.mux.stats()
    }

    /// Returns the number of requests in flight, including cancelled ones without an Rflush.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.shared.mux.outstanding()
    }

    /// Shuts the connection down. All operations fail from now on.
    pub fn hang_up(&self) {
        self.shared.mux.hang_up();
    }

    fn request(&self, message: Writer) -> Result<Request, Error> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        Ok(Request { id, bytes: message.finish(self.msize())?, flushes: None })
    }

    fn rpc(&self, message: Writer) -> Result<Vec<u8>, Error> {
        Ok(self.shared.mux.rpc(self.request(message)?)?)
    }

    /// Sends a request, and does not wait for its reply.
    fn send(&self, message: Writer) {
        if let Ok(request) = self.request(message) {
            // The connection has ended if this fails, or all tags are in use.
            let _ = self.shared.mux.start(request).map(drop);
        }
    }

    /// Sends a Tflush for the request `id`, unless its reply has arrived.
    fn flush(&self, id: u64) {
        let own = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let request = Request { id: own, bytes: codec::tflush(), flushes: Some(id) };
        let _ = self.shared.mux.start(request).map(drop);
    }

    fn with_fids<V>(&self, action: impl FnOnce(&mut Fids) -> V) -> V {
        action(&mut self.shared.fids.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn new_fid(&self) -> Result<u32, Error> {
        self.with_fids(|fids| {
            if let Some(fid) = fids.free.pop() {
                return Ok(fid);
            }
            let fid = fids.next;
            if fid == NOFID {
                return Err(Error::Io(io::ErrorKind::OutOfMemory.into()));
            }
            fids.next += 1;
            Ok(fid)
        })
    }

    /// Makes a number available again. The server must not know it any more.
    fn free_fid(&self, fid: u32) {
        self.with_fids(|fids| fids.free.push(fid));
    }
}

/// Sends a Tversion and returns the msize that the server has chosen.
fn negotiate(stream: &ServerStream) -> Result<u32, Error> {
    let version = Writer::new(types::TVERSION).u32(MSIZE).string(VERSION).finish(MSIZE)?;
    let mut stream = socket::Blocking(stream);
    stream.write_all(&version)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let length = u32::from_le_bytes(size);
    if !(7..=MSIZE).contains(&length) {
        return Err(Error::Protocol("its size is wrong"));
    }
    let mut reply = size.to_vec();
    reply.resize(length as usize, 0);
    stream.read_exact(&mut reply[4..])?;
    let mut reader = Reader::new(types::TVERSION, &reply)?;
    let msize = reader.u32()?;
    if reader.string()? != VERSION {
        return Err(Error::Protocol("the server does not speak 9P2000"));
    }
    if !(LEAST_MSIZE..=MSIZE).contains(&msize) {
        return Err(Error::Protocol("its msize is out of range"));
    }
    Ok(msize)
}
