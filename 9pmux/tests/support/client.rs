//! A client, for one request at a time or for many.

use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::{Got, PATIENCE, body, message, read_message, string};

pub const NOFID: [u8; 4] = [0xff; 4];

/// A connection. Fid 0 is the root once the client has attached.
pub struct Client {
    pub stream: UnixStream,
}

impl Client {
    /// Connects, without a Tversion.
    pub fn connect(path: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { stream })
    }

    /// Connects, negotiates a version, and attaches.
    pub fn attach(path: &Path) -> Client {
        let mut client = Client::connect(path).unwrap();
        client.version();
        client.begin();
        client
    }

    /// As `attach`, in this dialect.
    pub fn attach_in(path: &Path, dialect: &str) -> Client {
        let mut client = Client::connect(path).unwrap();
        client.version_in(dialect);
        client.begin_in(dialect);
        client
    }

    pub fn version(&mut self) {
        self.version_in("9P2000");
    }

    pub fn version_in(&mut self, dialect: &str) {
        let got = self.rpc(100, &body(&[&65536u32.to_le_bytes(), &string(dialect)]));
        assert_eq!((got.kind, &got.body[4..]), (101, &string(dialect)[..]));
    }

    /// Attaches fid 0.
    pub fn begin(&mut self) {
        self.begin_in("9P2000");
    }

    pub fn begin_in(&mut self, dialect: &str) {
        let got = self.rpc(104, &attach(0, dialect));
        assert_eq!(got.kind, 105, "{got:?}");
    }

    pub fn send(&mut self, kind: u8, tag: u16, body: &[u8]) {
        self.stream.write_all(&message(kind, tag, body)).unwrap();
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn receive(&mut self) -> Option<Got> {
        read_message(&mut self.stream).expect("a reply, or the end")
    }

    /// Receives the byte that carries a descriptor, behind an Ropenfd.
    pub fn take_descriptor(&self) -> UnixStream {
        let mut byte = [1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let bytes = &mut [IoSliceMut::new(&mut byte)];
        let received = recvmsg(&self.stream, bytes, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        let fds: Vec<OwnedFd> = control
            .drain()
            .flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
                _ => panic!("another control message"),
            })
            .collect();
        assert_eq!((received.bytes, byte[0], fds.len()), (1, 0, 1));
        let stream = UnixStream::from(fds.into_iter().next().expect("a descriptor"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub fn rpc(&mut self, kind: u8, body: &[u8]) -> Got {
        let tag = if kind == 100 { 0xffff } else { 1 };
        self.send(kind, tag, body);
        let got = self.receive().expect("a reply");
        assert_eq!(got.tag, tag);
        got
    }

    /// Opens a file of the root as `fid`.
    pub fn open(&mut self, fid: u32, name: &str) {
        let walk = body(&[&[0; 4], &fid.to_le_bytes(), &[1, 0], &string(name)]);
        assert_eq!(self.rpc(110, &walk).kind, 111, "{name}");
        assert_eq!(self.rpc(112, &body(&[&fid.to_le_bytes(), &[0]])).kind, 113, "{name}");
    }

    pub fn read(&mut self, fid: u32, offset: usize, count: u32) -> Vec<u8> {
        let got = self.rpc(116, &read(fid, offset, count));
        assert_eq!(got.kind, 117, "{got:?}");
        got.body[4..].to_vec()
    }

    pub fn read_all(&mut self, fid: u32) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let more = self.read(fid, all.len(), 60_000);
            if more.is_empty() {
                return all;
            }
            all.extend(more);
        }
    }

    pub fn clunk(&mut self, fid: u32) {
        assert_eq!(self.rpc(120, &fid.to_le_bytes()).kind, 121);
    }

    pub fn stat(&mut self, fid: u32) {
        assert_eq!(self.rpc(124, &fid.to_le_bytes()).kind, 125);
    }
}

/// The body of a Tattach of the user glenda.
pub fn attach(fid: u32, dialect: &str) -> Vec<u8> {
    let number: &[u8] = if dialect == "9P2000" { &[] } else { &NOFID };
    body(&[&fid.to_le_bytes(), &NOFID, &string("glenda"), &string(""), number])
}

/// The body of a Tread.
pub fn read(fid: u32, offset: usize, count: u32) -> Vec<u8> {
    body(&[&fid.to_le_bytes(), &(offset as u64).to_le_bytes(), &count.to_le_bytes()])
}

/// The body of a Twrite.
pub fn write(fid: u32, offset: usize, data: &[u8]) -> Vec<u8> {
    let (offset, count) = ((offset as u64).to_le_bytes(), (data.len() as u32).to_le_bytes());
    body(&[&fid.to_le_bytes(), &offset, &count, data])
}
