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
//! # Threads and tasks
//!
//! Threads may share a [`File`], such as the root, in an [`Arc`]. A thread that waits for its reply receives for all
//! others.
//!
//! Tasks need a receiving thread, which [`Client::spawn`] starts. [`File::start_read`] and [`File::start_write`]
//! return futures for any async runtime. Each other operation blocks its thread for one round trip, for which a
//! runtime may have threads apart (`spawn_blocking` of tokio).
//!
//! ```no_run
//! use ninepmux::client::{Error, File, OREAD};
//!
//! /// Reads a file below `root`, as one of many tasks.
//! async fn read_all(root: &File, path: &str) -> Result<Vec<u8>, Error> {
//!     let mut file = root.walk(path)?; // this blocks, as does `open`
//!     file.open(OREAD)?;
//!     let mut contents = Vec::new();
//!     loop {
//!         let data = file.start_read(contents.len() as u64, 8192)?.await?;
//!         if data.is_empty() {
//!             return Ok(contents);
//!         }
//!         contents.extend(data);
//!     }
//! }
//! ```

mod codec;
mod error;
mod fids;
mod file;
mod message;
mod socket;
mod stat;
mod transfer;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mux::framed::{FramedClient, FramedTransport};

use crate::wire::{NOFID, types};
use codec::{ClientCodec, Request};
use fids::{Fid, Fids};
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

/// Maximum number of requests in flight with which a dropped file still sends its Tclunk: half of the tags, so
/// that the others are left for calls that wait.
const MAX_CLUNKS: usize = 1 << 15;

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
    fids: Fids,
    /// The fids of dropped files without a Tclunk yet, because too many tags were in use.
    unclunked: Mutex<VecDeque<Arc<Fid>>>,
}

impl Client {
    /// Negotiates the version on a connected socket, and returns a client for threads. A task that awaits a
    /// [`Transfer`] fails with [`mux::Error::NoReceiver`] while no thread waits for a reply.
    ///
    /// # Errors
    /// * [`Error::Io`]: the connection has failed.
    /// * [`Error::Protocol`]: the server does not speak 9P2000.
    pub fn connect(stream: impl Into<ServerStream>) -> Result<Client, Error> {
        Client::over(stream.into(), |transport| Ok(mux::Client::new(transport)))
    }

    /// As [`connect`](Client::connect), for threads and tasks: starts a thread that receives for all of them.
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
        let (next_id, fids, unclunked) = Default::default();
        Ok(Client { shared: Arc::new(Shared { mux, msize, next_id, fids, unclunked }) })
    }

    /// Attaches to a file tree of the server as a user, without authentication, and returns its root.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server refuses it, and the errors of the connection.
    pub fn attach(&self, uname: &str, aname: &str) -> Result<File, Error> {
        let fid = self.new_fid()?;
        let attach = Writer::new(types::TATTACH).u32(fid.number).u32(NOFID);
        let attach = attach.string(uname).string(aname);
        let reply = self.rpc(attach)?;
        let mut reader = Reader::new(types::TATTACH, &reply)?;
        fid.set_known(true);
        Ok(File::new(self.clone(), fid, Qid::read(&mut reader)?))
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

    fn new_id(&self) -> u64 {
        self.shared.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn request(&self, message: Writer, fid: Option<&Arc<Fid>>) -> Result<Request, Error> {
        let bytes = message.finish(self.msize())?;
        Ok(Request { id: self.new_id(), bytes, flushes: None, fid: fid.cloned() })
    }

    fn rpc(&self, message: Writer) -> Result<Vec<u8>, Error> {
        Ok(self.shared.mux.rpc(self.request(message, None)?)?)
    }

    /// Sends a request, and does not wait for its reply.
    fn send(&self, request: Request) -> Result<(), mux::Error> {
        // A server that cannot send its replies may read no further request, so they are received first. This
        // fails if the connection has ended, as the call does then.
        let _ = self.shared.mux.deliver_available();
        self.shared.mux.start(request).map(drop)
    }

    /// Sends a Tflush for the request `id`, unless its reply has arrived.
    fn flush(&self, id: u64) {
        let bytes = codec::tflush();
        // The connection has ended if this fails, or all tags are in use.
        let _ = self.send(Request { id: self.new_id(), bytes, flushes: Some(id), fid: None });
    }

    /// Clunks a fid without waiting for the reply: now, or when the next file is made or dropped if too many tags
    /// are in use.
    fn clunk_later(&self, fid: Arc<Fid>) {
        self.unclunked().push_back(fid);
        self.send_clunks();
    }

    fn unclunked(&self) -> MutexGuard<'_, VecDeque<Arc<Fid>>> {
        self.shared.unclunked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_clunks(&self) {
        while self.outstanding() < MAX_CLUNKS {
            // The lock is not held while the request is sent: receiving may wake a task that drops a file.
            let next = self.unclunked().pop_front();
            let Some(fid) = next else { return };
            let clunk = Writer::new(types::TCLUNK).u32(fid.number);
            let Ok(request) = self.request(clunk, Some(&fid)) else { return };
            if let Err(mux::Error::NoTag) = self.send(request) {
                return self.unclunked().push_front(fid);
            }
        }
    }

    /// Returns a fid that the server does not know yet.
    fn new_fid(&self) -> Result<Arc<Fid>, Error> {
        self.send_clunks();
        self.shared.fids.allocate()
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
