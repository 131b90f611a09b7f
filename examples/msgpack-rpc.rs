//! Many threads call one Neovim over one connection, each as if it had it to itself.
//!
//! `msgpack-rpc socket [threads [rounds]]`, where `nvim --headless --listen socket` is running. Every
//! reply is checked to be the one to its own call.
//!
//! Neovim speaks msgpack-RPC, which is little like 9P: a message does not begin with its length, the id
//! is an element of an array, and the server also sends what answers no call of ours: notifications, and
//! calls of its own that we answer. What libmux asks about all that is the [`Transport`] below.

use std::fmt::Display;
use std::io::{self, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Instant;
use std::{env, process, thread};

use mux::{Error, Mux, Transport};
use rmpv::Value;

/// A message from the server.
#[derive(Debug)]
enum Message {
    /// `[1, id, error, result]`: what a call of ours is answered, be it that it is refused.
    Response { id: u32, answer: Answer },
    /// `[0, id, method, params]`: a call of the server's, to be answered by us.
    Request(Request),
    /// `[2, method, params]`: news, not to be answered.
    Notification { method: Value },
}

type Answer = Result<Value, Value>;

#[derive(Debug)]
struct Request {
    id: Value,
    method: Value,
    params: Value,
}

impl Message {
    /// `None` if that is not msgpack-RPC.
    fn parse(value: Value) -> Option<Message> {
        let Value::Array(fields) = value else { return None };
        let mut fields = fields.into_iter();
        let mut next = || fields.next();
        match next()?.as_u64()? {
            0 => Some(Message::Request(Request { id: next()?, method: next()?, params: next()? })),
            1 => {
                let id = u32::try_from(next()?.as_u64()?).ok()?;
                let (error, result) = (next()?, next()?);
                let answer = if error.is_nil() { Ok(result) } else { Err(error) };
                Some(Message::Response { id, answer })
            }
            2 => Some(Message::Notification { method: next()? }),
            _ => None,
        }
    }
}

/// The connection.
struct Neovim {
    socket: UnixStream,
    /// The same socket, to read from. Nobody ever waits for this lock: one at a time is in `recv`.
    incoming: Mutex<BufReader<UnixStream>>,
    /// Where the server's calls go.
    requests: Sender<Request>,
    /// Notifications that lines of a buffer have changed.
    changes: AtomicU64,
}

impl Neovim {
    fn connect(path: &str, requests: Sender<Request>) -> io::Result<Neovim> {
        let socket = UnixStream::connect(path)?;
        let incoming = Mutex::new(BufReader::new(socket.try_clone()?));
        Ok(Neovim { socket, incoming, requests, changes: AtomicU64::new(0) })
    }
}

impl Transport for Neovim {
    /// Its bytes, with the id as [`ID`] says.
    type Request = Vec<u8>;
    type Reply = Message;
    type Failure = io::Error;
    type Watch = ();

    fn range(&self) -> std::ops::Range<u32> {
        0..u32::MAX
    }

    fn set_tag(&self, request: &mut Vec<u8>, tag: u32) -> io::Result<()> {
        request[ID].copy_from_slice(&tag.to_be_bytes());
        Ok(())
    }

    fn tag(&self, message: &Message) -> Option<u32> {
        match message {
            Message::Response { id, .. } => Some(*id),
            // It has an id as well, but that is not of our choosing.
            Message::Request(_) | Message::Notification { .. } => None,
        }
    }

    fn send(&self, request: &mut Vec<u8>) -> io::Result<()> {
        (&self.socket).write_all(request)
    }

    fn recv(&self) -> Option<Message> {
        let mut incoming = self.incoming.lock().ok()?;
        Message::parse(rmpv::decode::read_value(&mut *incoming).ok()?)
    }

    /// Gets what has no tag. This must not wait, nor call: the server's calls are answered elsewhere.
    fn orphan(&self, message: Message) {
        match message {
            Message::Request(request) => drop(self.requests.send(request)),
            Message::Notification { method } if method.as_str() == Some("nvim_buf_lines_event") => {
                self.changes.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// Where the id is in a request: always as four bytes, though msgpack has shorter forms.
const ID: std::ops::Range<usize> = 3..7;

/// `[0, id, method, params]`, the id to be filled in.
fn request(method: &str, params: Vec<Value>) -> Vec<u8> {
    let mut bytes = vec![0x94, 0, 0xce, 0, 0, 0, 0]; // array of 4, the number 0, a number of 4 bytes
    write(&mut bytes, &method.into());
    write(&mut bytes, &params.into());
    bytes
}

/// `[1, id, nil, result]`.
fn response(id: Value, result: Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, &vec![1.into(), id, Value::Nil, result].into());
    bytes
}

fn write(bytes: &mut Vec<u8>, value: &Value) {
    rmpv::encode::write_value(bytes, value).expect("memory takes all");
}

/// One call. The outer error is the connection's; the inner one is Neovim's answer, a reply like any.
fn call(mux: &Mux<Neovim>, method: &str, params: Vec<Value>) -> Result<Answer, Error<io::Error>> {
    match mux.rpc(request(method, params))? {
        Message::Response { answer, .. } => Ok(answer),
        other => unreachable!("{other:?} has no tag"),
    }
}

/// One call that must succeed.
fn ask(mux: &Mux<Neovim>, method: &str, params: Vec<Value>) -> Value {
    match call(mux, method, params) {
        Ok(Ok(result)) => result,
        Ok(Err(refusal)) => die(format_args!("{method}: {refusal}")),
        Err(error) => die(format_args!("{method}: {error}: {error:?}")),
    }
}

fn die(why: impl Display) -> ! {
    eprintln!("msgpack-rpc: {why}");
    process::exit(1)
}

fn check(got: &Value, want: &Value) {
    if got != want {
        die(format_args!("a reply is {got}, not {want}"));
    }
}

/// What each thread does: four calls a round, whose answers nobody else can have got.
fn caller(mux: &Mux<Neovim>, me: u64, rounds: u64) {
    let buffer = ask(mux, "nvim_create_buf", vec![false.into(), true.into()]);
    let no_options = Value::Map(Vec::new());
    ask(mux, "nvim_buf_attach", vec![buffer.clone(), false.into(), no_options]);
    let all = [buffer, 0.into(), (-1).into(), true.into()]; // the buffer, from its first line to its last
    for n in 0..rounds {
        let lines = Value::from(vec![Value::from(format!("line {n} of caller {me}"))]);
        ask(mux, "nvim_buf_set_lines", all.iter().chain([&lines]).cloned().collect());
        check(&ask(mux, "nvim_buf_get_lines", all.to_vec()), &lines);

        let number = me * 1_000_000 + n;
        check(&ask(mux, "nvim_eval", vec![number.to_string().into()]), &number.into());

        let unknown = format!("no_{me}_{n}_here");
        match call(mux, "nvim_eval", vec![unknown.clone().into()]) {
            Ok(Err(refusal)) if refusal.to_string().contains(&unknown) => {}
            other => die(format_args!("{unknown} is answered {other:?}")),
        }
    }
}

fn main() {
    let mut args = env::args().skip(1);
    let path = args.next().unwrap_or_else(|| die("usage: msgpack-rpc socket [threads [rounds]]"));
    let mut number = |default| match args.next() {
        Some(arg) => arg.parse().unwrap_or_else(|_| die(format_args!("{arg} is no number"))),
        None => default,
    };
    let (threads, rounds) = (number(8), number(250));

    let (asked, requests) = mpsc::channel();
    let connected = Neovim::connect(&path, asked);
    let mux = &Mux::new(connected.unwrap_or_else(|e| die(format_args!("{path}: {e}"))));
    let began = Instant::now();
    let info = ask(mux, "nvim_get_api_info", vec![]);
    let channel = info[0].as_u64().unwrap_or_else(|| die(info));
    let ask_back = |method, n| Value::from(format!("rpcrequest({channel}, '{method}', {n})"));

    thread::scope(|scope| {
        let callers: Vec<_> =
            (0..threads).map(|me| scope.spawn(move || caller(mux, me, rounds))).collect();
        // Calls during which Neovim calls us.
        scope.spawn(move || {
            for n in 0..rounds {
                check(&ask(mux, "nvim_eval", vec![ask_back("double", n)]), &(2 * n).into());
            }
            for caller in callers {
                caller.join().unwrap_or_else(|_| die("a caller has panicked"));
            }
            // This one is not answered any more: the connection is hung up.
            match call(mux, "nvim_eval", vec![ask_back("stop", 0)]) {
                Err(Error::Ended) => {}
                other => die(format_args!("the last call is answered {other:?}")),
            }
        });

        for Request { id, method, params } in requests {
            match (method.as_str(), params[0].as_u64()) {
                (Some("double"), Some(n)) => {
                    let sent = mux.send_message(response(id, (2 * n).into()));
                    sent.unwrap_or_else(|e| die(format_args!("an answer: {e}: {e:?}")));
                }
                (Some("stop"), _) => break,
                _ => die(format_args!("Neovim asks for {method}{params}")),
            }
        }
        mux.hang_up();
        mux.transport().socket.shutdown(Shutdown::Both).unwrap_or_else(|e| die(e));
    });

    let changes = mux.transport().changes.load(Ordering::Relaxed);
    if changes != threads * rounds {
        die(format_args!("{changes} notifications, not {}", threads * rounds));
    }
    let stats = mux.stats();
    println!(
        "msgpack-rpc: {} calls by {} threads in {:.2} s, at most {} outstanding, each got its own reply; \
         {changes} notifications; {rounds} calls of the server's were answered",
        stats.calls,
        threads + 1,
        began.elapsed().as_secs_f64(),
        stats.most,
    );
}
