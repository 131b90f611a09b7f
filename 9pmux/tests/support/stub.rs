//! A 9P2000 server of a small tree in memory, which counts requests and can misbehave.
//!
//! | file | contents |
//! |---|---|
//! | `hello` | a line |
//! | `big` | a megabyte, in which each byte depends on its offset; a write must be of the same bytes |
//! | `slow` | a read has no reply; a flush removes it |

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{Got, Place, body, message, read_message, string, unix};

pub const HELLO: &[u8] = b"hello from the server\n";
pub const BIG: usize = 1 << 20;
pub const MSIZE: u32 = 65536;

/// The byte of `big` at this offset.
pub fn big(at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)) as u8
}

/// The server's counters.
#[derive(Default)]
pub struct Counts {
    pub connections: AtomicUsize,
    pub fids: AtomicUsize,
    pub most_fids: AtomicUsize,
    /// Reads without a reply.
    pub held: AtomicUsize,
    pub flushes: AtomicUsize,
    pub requests: AtomicUsize,
    /// Bytes written to `big`.
    pub written: AtomicUsize,
    /// Requests that use an unknown fid, create one that exists, or write other bytes than those of `big`.
    pub wrong: AtomicUsize,
}

/// A running server.
pub struct Stub {
    place: Place,
    pub counts: Arc<Counts>,
    connections: Arc<Mutex<Vec<UnixStream>>>,
}

impl Stub {
    /// Starts a server of the tree.
    pub fn new() -> Stub {
        Stub::with(serve)
    }

    /// Starts a server that reads everything and never replies.
    pub fn silent() -> Stub {
        Stub::with(|mut stream, _| {
            while read_message(&mut stream)?.is_some() {}
            Ok(())
        })
    }

    /// Starts a server that replies to two messages, a version and an attach, and then stops reading.
    pub fn deaf() -> Stub {
        Stub::with(|mut stream, counts| {
            let output = stream.try_clone()?;
            let input = stream.try_clone()?;
            let mut session =
                Session { input, output, counts, fids: HashMap::new(), held: Vec::new() };
            for _ in 0..2 {
                let Some(got) = read_message(&mut stream)? else {
                    continue;
                };
                if let Ok(Some(reply)) = session.reply(&got) {
                    session.output.write_all(&message(got.kind + 1, got.tag, &reply))?;
                }
            }
            // until the test ends
            thread::park();
            Ok(())
        })
    }

    /// Starts a server that replies to the first message with these bytes.
    pub fn saying(bytes: &'static [u8]) -> Stub {
        Stub::with(move |mut stream, _| {
            read_message(&mut stream)?;
            stream.write_all(bytes)?;
            while read_message(&mut stream)?.is_some() {}
            Ok(())
        })
    }

    /// Starts a server that serves each connection with this function.
    pub fn with(
        serve: impl Fn(UnixStream, &Counts) -> io::Result<()> + Send + Sync + 'static,
    ) -> Stub {
        let place = Place::new();
        let listener = UnixListener::bind(place.path("server")).unwrap();
        let counts = Arc::new(Counts::default());
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (of_thread, serve) = ((counts.clone(), connections.clone()), Arc::new(serve));
        thread::spawn(move || {
            let (counts, connections) = of_thread;
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                counts.connections.fetch_add(1, SeqCst);
                connections.lock().unwrap().push(stream.try_clone().unwrap());
                let (counts, serve) = (counts.clone(), serve.clone());
                thread::spawn(move || {
                    let _ = serve(stream, &counts);
                });
            }
        });
        Stub { place, counts, connections }
    }

    pub fn path(&self) -> PathBuf {
        self.place.path("server")
    }

    pub fn address(&self) -> String {
        unix(&self.path())
    }

    /// Closes all connections, as the death of a server does.
    pub fn die(&self) {
        for stream in self.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn fids(&self) -> usize {
        self.counts.fids.load(SeqCst)
    }

    pub fn held(&self) -> usize {
        self.counts.held.load(SeqCst)
    }

    /// Checks that no request was invalid.
    pub fn assert_content(&self) {
        assert_eq!(self.counts.wrong.load(SeqCst), 0, "wrong fids or bytes at the server");
    }
}

/// Serves the tree on any stream, until the stream ends.
pub fn serve(stream: UnixStream, counts: &Counts) -> io::Result<()> {
    let mut session = Session {
        input: stream.try_clone()?,
        output: stream,
        counts,
        fids: HashMap::new(),
        held: Vec::new(),
    };
    let result = session.run();
    counts.fids.fetch_sub(session.fids.len(), SeqCst);
    counts.held.fetch_sub(session.held.len(), SeqCst);
    result
}

struct Session<'a> {
    input: UnixStream,
    output: UnixStream,
    counts: &'a Counts,
    /// The file of each fid; the root has the empty name.
    fids: HashMap<u32, String>,
    /// Tags of reads without a reply.
    held: Vec<u16>,
}

fn qid(file: &str) -> [u8; 13] {
    let mut qid = [0; 13];
    qid[0] = if file.is_empty() { 0x80 } else { 0 };
    qid[5] = file.len() as u8;
    qid
}

impl Session<'_> {
    fn run(&mut self) -> io::Result<()> {
        while let Some(got) = read_message(&mut self.input)? {
            self.counts.requests.fetch_add(1, SeqCst);
            match self.reply(&got) {
                Ok(Some(reply)) => {
                    self.output.write_all(&message(got.kind + 1, got.tag, &reply))?
                }
                Ok(None) => {}
                Err(why) => self.output.write_all(&message(107, got.tag, &string(why)))?,
            }
        }
        Ok(())
    }

    fn file(&self, fid: u32) -> Result<String, &'static str> {
        self.fids.get(&fid).cloned().ok_or_else(|| {
            self.counts.wrong.fetch_add(1, SeqCst);
            "no such fid"
        })
    }

    fn make(&mut self, fid: u32, file: String) {
        if self.fids.insert(fid, file).is_some() {
            self.counts.wrong.fetch_add(1, SeqCst);
        }
        let now = self.counts.fids.fetch_add(1, SeqCst) + 1;
        self.counts.most_fids.fetch_max(now, SeqCst);
    }

    fn reply(&mut self, got: &Got) -> Result<Option<Vec<u8>>, &'static str> {
        let reply = match got.kind {
            100 => body(&[&MSIZE.min(got.u32_at(0)).to_le_bytes(), &string("9P2000")]),
            104 => {
                self.make(got.u32_at(0), String::new());
                qid("").to_vec()
            }
            108 => {
                let old = u16::from_le_bytes([got.body[0], got.body[1]]);
                self.counts.flushes.fetch_add(1, SeqCst);
                if let Some(at) = self.held.iter().position(|tag| *tag == old) {
                    self.held.swap_remove(at);
                    self.counts.held.fetch_sub(1, SeqCst);
                }
                Vec::new()
            }
            110 => {
                let (fid, newfid) = (got.u32_at(0), got.u32_at(4));
                let mut file = self.file(fid)?;
                let mut qids = vec![got.body[8], 0];
                if got.body[8] == 1 {
                    file = String::from_utf8_lossy(&got.body[12..]).into_owned();
                    if !["hello", "big", "slow"].contains(&file.as_str()) {
                        return Err("no such file");
                    }
                    qids.extend(qid(&file));
                }
                self.make(newfid, file);
                qids
            }
            112 => body(&[&qid(&self.file(got.u32_at(0))?), &[0; 4]]),
            116 => {
                let file = self.file(got.u32_at(0))?;
                let (offset, count) = (got.u32_at(4) as usize, got.u32_at(12) as usize);
                let data: Vec<u8> = match file.as_str() {
                    "hello" => HELLO.iter().copied().skip(offset).take(count).collect(),
                    "big" => (offset.min(BIG)..(offset + count).min(BIG)).map(big).collect(),
                    "slow" => {
                        self.held.push(got.tag);
                        self.counts.held.fetch_add(1, SeqCst);
                        return Ok(None);
                    }
                    _ => Vec::new(),
                };
                body(&[&(data.len() as u32).to_le_bytes(), &data])
            }
            118 => {
                let (offset, data) = (got.u32_at(4) as usize, &got.body[16..]);
                if self.file(got.u32_at(0))? != "big" {
                    return Err("permission denied");
                }
                if !data.iter().enumerate().all(|(at, byte)| *byte == big(offset + at)) {
                    self.counts.wrong.fetch_add(1, SeqCst);
                }
                self.counts.written.fetch_add(data.len(), SeqCst);
                (data.len() as u32).to_le_bytes().to_vec()
            }
            120 => {
                self.file(got.u32_at(0))?;
                self.fids.remove(&got.u32_at(0));
                self.counts.fids.fetch_sub(1, SeqCst);
                Vec::new()
            }
            124 => {
                self.file(got.u32_at(0))?;
                let mut stat = vec![0; 2];
                stat.extend([0; 60]);
                stat[0] = 60;
                stat
            }
            _ => return Err("no such message"),
        };
        Ok(Some(reply))
    }
}
