//! A server of files in memory, which can be stopped and started again: the files stay, the sessions are lost.
//!
//! It speaks 9P2000 and 9P2000.L. It records each request that it receives, in all of its lives, and can be made to
//! receive a request without a reply, before or after executing it. The files are in one directory.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use super::{Got, Place, body, message, read_message, string, unix, wait_for};

/// The type of a qid of a directory, and of a file that is only appended to.
pub const QTDIR: u8 = 0x80;
pub const QTAPPEND: u8 = 0x40;

/// The qid.path of the directory when the store is new.
const ROOT: u64 = 1;

/// The treatment of a request that gets no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is not executed, and there is no reply.
    Lost,
    /// It is executed, and there is no reply.
    Unanswered,
}

/// A file.
#[derive(Clone, Debug)]
struct File {
    kind: u8,
    data: Vec<u8>,
}

/// The files and records, which are kept while the server is stopped.
struct Disk {
    root: u64,
    names: BTreeMap<String, u64>,
    files: HashMap<u64, File>,
    next: u64,
    dialect: String,
    msize: u32,
    /// The requests of all lives, in their order. Each is the number of its connection, and the message.
    requests: Vec<(usize, Got)>,
    /// The types of requests that are received without a reply, once each.
    fates: Vec<(u8, Fate)>,
    connections: Vec<UnixStream>,
    count: usize,
    /// The number of connections that have not ended.
    open: usize,
    /// The number of times that the server was stopped.
    stops: usize,
    /// True if it reads and never replies.
    is_silent: bool,
    /// True if a connection may attach only once.
    attaches_once: bool,
}

/// The server.
pub struct Store {
    place: Place,
    disk: Arc<Mutex<Disk>>,
}

impl Store {
    /// Returns a store of this dialect, which is stopped.
    pub fn stopped(dialect: &str) -> Store {
        let disk = Disk {
            root: ROOT,
            names: BTreeMap::new(),
            files: HashMap::new(),
            next: ROOT + 1,
            dialect: dialect.to_owned(),
            msize: 65536,
            requests: Vec::new(),
            fates: Vec::new(),
            connections: Vec::new(),
            count: 0,
            open: 0,
            stops: 0,
            is_silent: false,
            attaches_once: false,
        };
        Store { place: Place::new(), disk: Arc::new(Mutex::new(disk)) }
    }

    /// Returns a store of this dialect.
    pub fn new(dialect: &str) -> Store {
        let store = Store::stopped(dialect);
        store.start();
        store
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    pub fn path(&self) -> PathBuf {
        self.place.path("store")
    }

    pub fn address(&self) -> String {
        unix(&self.path())
    }

    /// Listens.
    pub fn start(&self) {
        let listener = UnixListener::bind(self.path()).unwrap();
        let (disk, life) = (self.disk.clone(), self.disk().stops);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let number = {
                    let mut disk = disk.lock().unwrap();
                    if disk.stops != life {
                        return;
                    }
                    disk.connections.push(stream.try_clone().unwrap());
                    disk.count += 1;
                    disk.open += 1;
                    disk.count
                };
                let disk = disk.clone();
                thread::spawn(move || {
                    let fids = HashMap::new();
                    let session = Session { disk: &disk, number, fids, has_attached: false };
                    let _ = session.run(stream);
                    disk.lock().unwrap().open -= 1;
                });
            }
        });
    }

    /// Closes all connections and stops listening, as a server that is killed does.
    pub fn stop(&self) {
        self.disk().stops += 1;
        // Wakes the thread that accepts.
        let _ = UnixStream::connect(self.path());
        let _ = std::fs::remove_file(self.path());
        self.disconnect();
    }

    /// Closes all connections.
    pub fn disconnect(&self) {
        for stream in self.disk().connections.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Makes the server read and never reply, or ends that for new requests.
    pub fn set_silent(&self, silent: bool) {
        self.disk().is_silent = silent;
    }

    /// Makes the server refuse a second Tattach on a connection.
    pub fn set_attaches_once(&self) {
        self.disk().attaches_once = true;
    }

    pub fn set_msize(&self, msize: u32) {
        self.disk().msize = msize;
    }

    pub fn set_dialect(&self, dialect: &str) {
        self.disk().dialect = dialect.to_owned();
    }

    /// Makes another directory the root, with the same files.
    pub fn replace_root(&self) {
        let mut disk = self.disk();
        disk.next += 1;
        disk.root = disk.next;
    }

    /// Writes a file, which is another one than a file of that name before.
    pub fn put(&self, name: &str, data: &[u8]) {
        self.put_as(name, 0, data);
    }

    pub fn put_as(&self, name: &str, kind: u8, data: &[u8]) {
        self.disk().add(name, kind, data);
    }

    /// Returns the data of a file, if it exists.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        let number = disk.names.get(name)?;
        Some(disk.files[number].data.clone())
    }

    /// Removes a name, as another user of the disk.
    pub fn remove(&self, name: &str) {
        self.disk().names.remove(name).unwrap();
    }

    /// Renames a file, as another user of the disk.
    pub fn rename(&self, from: &str, to: &str) {
        let mut disk = self.disk();
        let number = disk.names.remove(from).unwrap();
        disk.names.insert(to.to_owned(), number);
    }

    /// Treats the next request of this type in this way.
    pub fn set_fate(&self, kind: u8, fate: Fate) {
        self.disk().fates.push((kind, fate));
    }

    /// Returns the requests of a type in all lives.
    pub fn requests(&self, kind: u8) -> Vec<Got> {
        let disk = self.disk();
        let of_kind = disk.requests.iter().filter(|(_, got)| got.kind == kind);
        of_kind.map(|(_, got)| got.clone()).collect()
    }

    /// Returns the types of the requests on the connection of this number, which counts from 1.
    pub fn types(&self, connection: usize) -> Vec<u8> {
        let disk = self.disk();
        let of_it = disk.requests.iter().filter(|(number, _)| *number == connection);
        of_it.map(|(_, got)| got.kind).collect()
    }

    /// Waits until the server has received this many requests of a type.
    pub fn wait_requests(&self, kind: u8, count: usize) {
        wait_for("a request at the server", || self.requests(kind).len() >= count);
    }

    /// Waits until this many connections are open.
    pub fn wait_open(&self, count: usize) {
        wait_for("the end of connections", || self.disk().open == count);
    }

    /// Returns the number of connections in all lives.
    pub fn connections(&self) -> usize {
        self.disk().count
    }
}

impl Disk {
    fn add(&mut self, name: &str, kind: u8, data: &[u8]) -> u64 {
        let number = self.next;
        self.next += 1;
        self.names.insert(name.to_owned(), number);
        self.files.insert(number, File { kind, data: data.to_vec() });
        number
    }

    fn qid(&self, number: u64) -> Vec<u8> {
        let kind = self.files.get(&number).map_or(QTDIR, |file| file.kind);
        body(&[&[kind], &[0; 4], &number.to_le_bytes()])
    }

    fn file(&mut self, number: u64) -> Result<&mut File, u32> {
        self.files.get_mut(&number).ok_or(21)
    }
}

/// A connection.
struct Session<'a> {
    disk: &'a Mutex<Disk>,
    number: usize,
    /// The number of the file of each fid.
    fids: HashMap<u32, u64>,
    has_attached: bool,
}

impl Session<'_> {
    fn run(mut self, mut stream: UnixStream) -> io::Result<()> {
        let mut output = stream.try_clone()?;
        while let Some(got) = read_message(&mut stream)? {
            let (reply, is_l) = {
                let mut disk = self.disk.lock().unwrap();
                disk.requests.push((self.number, got.clone()));
                let fate = disk.fates.iter().position(|(kind, _)| *kind == got.kind);
                let fate = fate.map(|at| disk.fates.remove(at).1);
                if disk.is_silent || fate == Some(Fate::Lost) {
                    continue;
                }
                let is_l = disk.dialect == "9P2000.L";
                let reply = self.reply(&mut disk, &got, is_l);
                if fate == Some(Fate::Unanswered) {
                    continue;
                }
                (reply, is_l)
            };
            output.write_all(&match reply {
                Ok(reply) => message(got.kind + 1, got.tag, &reply),
                Err(number) if is_l => message(7, got.tag, &number.to_le_bytes()),
                Err(number) => message(107, got.tag, &string(&format!("error {number}"))),
            })?;
        }
        Ok(())
    }

    fn number(&self, fid: u32) -> Result<u64, u32> {
        self.fids.get(&fid).copied().ok_or(9)
    }

    /// Executes a request. An error is a number of Linux.
    fn reply(&mut self, disk: &mut Disk, got: &Got, is_l: bool) -> Result<Vec<u8>, u32> {
        let fid = || got.u32_at(0);
        Ok(match got.kind {
            // Tversion
            100 => {
                self.fids.clear();
                body(&[&disk.msize.min(fid()).to_le_bytes(), &string(&disk.dialect)])
            }
            // Tattach
            104 if disk.attaches_once && std::mem::replace(&mut self.has_attached, true) => {
                return Err(1);
            }
            104 => {
                self.fids.insert(fid(), disk.root);
                disk.qid(disk.root)
            }
            // Tflush
            108 => Vec::new(),
            // Twalk
            110 => self.walk(disk, got)?,
            // Topen
            112 => {
                let number = self.number(fid())?;
                if got.body[4] & 0x10 != 0 {
                    disk.file(number)?.data.clear();
                }
                body(&[&disk.qid(number), &[0; 4]])
            }
            // Tlopen
            12 => {
                let number = self.number(fid())?;
                if got.u32_at(4) & 0o1000 != 0 {
                    disk.file(number)?.data.clear();
                }
                body(&[&disk.qid(number), &[0; 4]])
            }
            // Tread
            116 => {
                let number = self.number(fid())?;
                let (offset, count) = (got.u32_at(4) as usize, got.u32_at(12) as usize);
                let data = &disk.file(number)?.data;
                let end = data.len().min(offset + count);
                let data = &data[offset.min(end)..end];
                body(&[&(data.len() as u32).to_le_bytes(), data])
            }
            // Twrite
            118 => {
                let number = self.number(fid())?;
                let file = disk.file(number)?;
                let data = &got.body[16..];
                let offset = match file.kind & QTAPPEND {
                    0 => got.u32_at(4) as usize,
                    _ => file.data.len(),
                };
                let end = file.data.len().max(offset + data.len());
                file.data.resize(end, 0);
                file.data[offset..offset + data.len()].copy_from_slice(data);
                (data.len() as u32).to_le_bytes().to_vec()
            }
            // Tclunk
            120 => {
                self.fids.remove(&fid()).ok_or(9u32)?;
                Vec::new()
            }
            // Tremove
            122 => {
                let number = self.fids.remove(&fid()).ok_or(9u32)?;
                let before = disk.names.len();
                disk.names.retain(|_, at| *at != number);
                if disk.names.len() == before {
                    return Err(2);
                }
                Vec::new()
            }
            // Tstat
            124 => {
                self.number(fid())?;
                body(&[&[62, 0, 60, 0], &[0; 60]])
            }
            // Tgetattr
            24 if is_l => {
                let qid = disk.qid(self.number(fid())?);
                body(&[&[0xff; 8], &qid, &[0; 4 + 4 + 4 + 15 * 8]])
            }
            // Tlock
            52 if is_l => {
                self.number(fid())?;
                vec![0]
            }
            // Tfsync
            50 if is_l => {
                self.number(fid())?;
                Vec::new()
            }
            _ => return Err(95),
        })
    }

    fn walk(&mut self, disk: &Disk, got: &Got) -> Result<Vec<u8>, u32> {
        let (fid, newfid) = (got.u32_at(0), got.u32_at(4));
        let mut number = self.number(fid)?;
        if newfid != fid && self.fids.contains_key(&newfid) {
            return Err(9);
        }
        let count = usize::from(got.body[8]);
        let (mut at, mut qids) = (10, Vec::new());
        let mut walked = 0;
        for _ in 0..count {
            let len = usize::from(u16::from_le_bytes([got.body[at], got.body[at + 1]]));
            let name = String::from_utf8_lossy(&got.body[at + 2..at + 2 + len]).into_owned();
            at += 2 + len;
            let Some(next) = disk.names.get(&name).filter(|_| number == disk.root) else {
                break;
            };
            number = *next;
            walked += 1;
            qids.extend(disk.qid(number));
        }
        if walked == count {
            self.fids.insert(newfid, number);
        } else if walked == 0 {
            return Err(2);
        }
        Ok(body(&[&(walked as u16).to_le_bytes(), &qids]))
    }
}
