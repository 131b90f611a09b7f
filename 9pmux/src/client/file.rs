//! Files of a server.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::fids::Fid;
use super::message::{Reader, Writer};
use super::{Client, Error, Qid, Stat, Transfer};
use crate::wire::{DATA_HEADER, IO_HEADER, MAX_NAMES, types};

/// Open for reading.
pub const OREAD: u8 = 0;
/// Open for writing.
pub const OWRITE: u8 = 1;
/// Open for reading and writing.
pub const ORDWR: u8 = 2;
/// Open for execution.
pub const OEXEC: u8 = 3;
/// Added to a mode: truncate the file.
pub const OTRUNC: u8 = 0x10;
/// Added to a mode: remove the file when it is clunked.
pub const ORCLOSE: u8 = 0x40;

/// The type of Tstat.
const TSTAT: u8 = 124;

/// A file of the server: a fid. Dropping it clunks the fid, without waiting for the reply.
///
/// [`Read`], [`Write`] and [`Seek`] use an offset of the file's own, which begins at 0.
#[derive(Debug)]
pub struct File {
    client: Client,
    fid: Arc<Fid>,
    qid: Qid,
    /// The most bytes in one read or write, or 0 if the server has set no limit but the msize.
    iounit: u32,
    /// The offset of `Read` and `Write`.
    offset: u64,
    /// True after a request that clunks the fid.
    is_clunked: bool,
}

impl File {
    pub(super) fn new(client: Client, fid: Arc<Fid>, qid: Qid) -> File {
        File { client, fid, qid, iounit: 0, offset: 0, is_clunked: false }
    }

    /// Walks from this file, which must not be open, along a path with the separator `/`. An empty path is this
    /// file again.
    ///
    /// # Errors
    /// [`Error::Refused`] if a file of the path does not exist, and the errors of the connection.
    pub fn walk(&self, path: &str) -> Result<File, Error> {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let mut steps = names.chunks(MAX_NAMES.into());
        let fid = self.client.new_fid()?;
        let first = self.client.walk(self.fid.number, fid.number, steps.next().unwrap_or_default());
        // A refused walk makes no fid, and a request that is too long is not sent.
        fid.set_known(!matches!(first, Err(Error::Refused(_) | Error::TooLong)));
        let mut file = File::new(self.client.clone(), fid, first?.unwrap_or(self.qid));
        for step in steps {
            let fid = file.fid.number;
            file.qid = file.client.walk(fid, fid, step)?.unwrap_or(file.qid);
        }
        Ok(file)
    }

    /// Opens the file. `mode` is [`OREAD`], [`OWRITE`], [`ORDWR`] or [`OEXEC`], with [`OTRUNC`] and
    /// [`ORCLOSE`].
    ///
    /// # Errors
    /// [`Error::Refused`] if the server refuses it, and the errors of the connection.
    pub fn open(&mut self, mode: u8) -> Result<(), Error> {
        let reply = self.client.rpc(Writer::new(types::TOPEN).u32(self.fid.number).u8(mode))?;
        self.opened(Reader::new(types::TOPEN, &reply)?)
    }

    /// Creates a file in this directory and opens it. This file then is the new one.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server refuses it, and the errors of the connection.
    pub fn create(&mut self, name: &str, permissions: u32, mode: u8) -> Result<(), Error> {
        let create = Writer::new(types::TCREATE).u32(self.fid.number).string(name);
        let reply = self.client.rpc(create.u32(permissions).u8(mode))?;
        self.opened(Reader::new(types::TCREATE, &reply)?)
    }

    fn opened(&mut self, mut reply: Reader<'_>) -> Result<(), Error> {
        self.qid = Qid::read(&mut reply)?;
        self.iounit = reply.u32()?;
        Ok(())
    }

    /// Returns the server's identification of the file.
    #[must_use]
    pub fn qid(&self) -> Qid {
        self.qid
    }

    /// Returns how many bytes of `length` one message with a header of this size can have.
    fn limit(&self, header: u32, length: usize) -> u32 {
        let most = self.client.msize() - header;
        let most = if self.iounit == 0 { most } else { most.min(self.iounit) };
        u32::try_from(length).map_or(most, |length| length.min(most))
    }

    fn tread(&self, offset: u64, count: usize) -> Writer {
        let count = self.limit(DATA_HEADER, count);
        Writer::new(types::TREAD).u32(self.fid.number).u64(offset).u32(count)
    }

    fn twrite(&self, offset: u64, data: &[u8]) -> Writer {
        let count = self.limit(IO_HEADER, data.len()) as usize;
        Writer::new(types::TWRITE).u32(self.fid.number).u64(offset).data(&data[..count])
    }

    /// Reads at most `buffer.len()` bytes at `offset`, and returns how many; 0 is the end of the file. One call
    /// is one Tread.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server refuses it, and the errors of the connection.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let reply = self.client.rpc(self.tread(offset, buffer.len()))?;
        let data = Reader::new(types::TREAD, &reply)?.data()?;
        let place = buffer.get_mut(..data.len()).ok_or(Error::Protocol("too many bytes"))?;
        place.copy_from_slice(data);
        Ok(data.len())
    }

    /// Writes the beginning of `data` at `offset`, and returns how many bytes. One call is one Twrite.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server refuses it, and the errors of the connection.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<usize, Error> {
        let reply = self.client.rpc(self.twrite(offset, data))?;
        written(Reader::new(types::TWRITE, &reply)?, data.len())
    }

    /// As [`read_at`](File::read_at), as a future. The file should not be dropped or clunked before the future
    /// has completed: the server then refuses a read that has not been sent yet.
    ///
    /// # Errors
    /// [`Error::TooLong`] cannot happen for a read; other errors are those of the future.
    pub fn start_read(&self, offset: u64, count: usize) -> Result<Transfer<Vec<u8>>, Error> {
        Transfer::new(self, self.tread(offset, count), types::TREAD, |mut reply| {
            reply.data().map(<[u8]>::to_vec)
        })
    }

    /// As [`write_at`](File::write_at), as a future.
    ///
    /// # Errors
    /// As [`start_read`](File::start_read).
    pub fn start_write(&self, offset: u64, data: &[u8]) -> Result<Transfer<usize>, Error> {
        Transfer::new(self, self.twrite(offset, data), types::TWRITE, |reply| {
            written(reply, u32::MAX as usize)
        })
    }

    /// Returns the description of the file.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server refuses it, and the errors of the connection.
    pub fn stat(&self) -> Result<Stat, Error> {
        let reply = self.client.rpc(Writer::new(TSTAT).u32(self.fid.number))?;
        let mut reader = Reader::new(TSTAT, &reply)?;
        // The size of the stat, which begins with its own size.
        reader.u16()?;
        Stat::read(&mut reader)
    }

    /// Returns the entries of this directory, which must be open for reading.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server refuses it, and the errors of the connection.
    pub fn entries(&self) -> Result<Vec<Stat>, Error> {
        let mut entries = Vec::new();
        let mut buffer = vec![0; self.client.msize() as usize];
        let mut offset = 0;
        loop {
            let length = self.read_at(offset, &mut buffer)?;
            if length == 0 {
                return Ok(entries);
            }
            offset += length as u64;
            let mut reader = Reader::over(&buffer[..length]);
            while !reader.is_empty() {
                entries.push(Stat::read(&mut reader)?);
            }
        }
    }

    /// Clunks the fid and waits for the reply, by which the server may report that a write has failed.
    ///
    /// # Errors
    /// [`Error::Refused`] if the server reports an error, and the errors of the connection.
    pub fn clunk(self) -> Result<(), Error> {
        self.end(types::TCLUNK)
    }

    /// Removes the file, and clunks the fid even if the server refuses that.
    ///
    /// # Errors
    /// As [`clunk`](File::clunk).
    pub fn remove(self) -> Result<(), Error> {
        self.end(types::TREMOVE)
    }

    fn end(mut self, kind: u8) -> Result<(), Error> {
        let request =
            self.client.request(Writer::new(kind).u32(self.fid.number), Some(&self.fid))?;
        let reply = self.client.shared.mux.rpc(request);
        // The fid is gone with either reply. Without a tag or memory the request has not been sent.
        self.is_clunked = !matches!(reply, Err(mux::Error::NoTag | mux::Error::NoMemory));
        Reader::new(kind, &reply?).map(drop)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn fid(&self) -> &Arc<Fid> {
        &self.fid
    }
}

/// Returns the count of an Rwrite.
fn written(mut reply: Reader<'_>, most: usize) -> Result<usize, Error> {
    let count = reply.u32()? as usize;
    if count <= most { Ok(count) } else { Err(Error::Protocol("too many bytes")) }
}

impl Client {
    /// Sends a Twalk. Returns the qid of the last file, or `None` if there are no names.
    fn walk(&self, from: u32, to: u32, names: &[&str]) -> Result<Option<Qid>, Error> {
        let walk = Writer::new(types::TWALK).u32(from).u32(to).u16(names.len() as u16);
        let walk = names.iter().fold(walk, |walk, name| walk.string(name));
        let reply = self.rpc(walk)?;
        let mut reader = Reader::new(types::TWALK, &reply)?;
        let found = reader.u16()?;
        let mut last = None;
        for _ in 0..found {
            last = Some(Qid::read(&mut reader)?);
        }
        match usize::from(found).cmp(&names.len()) {
            std::cmp::Ordering::Equal => Ok(last),
            std::cmp::Ordering::Less => Err(Error::Refused("file does not exist".to_string())),
            std::cmp::Ordering::Greater => Err(Error::Protocol("too many files")),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if !self.is_clunked {
            self.client.clunk_later(self.fid.clone());
        }
    }
}

impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.read_at(self.offset, buffer)?;
        self.offset += length as u64;
        Ok(length)
    }
}

impl Write for File {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let length = self.write_at(self.offset, data)?;
        self.offset += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let offset = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => self.offset.checked_add_signed(by),
            SeekFrom::End(by) => self.stat()?.length.checked_add_signed(by),
        };
        self.offset = offset.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.offset)
    }
}
