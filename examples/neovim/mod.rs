//! A connection to Neovim (`nvim --headless --listen socket`): the transport for msgpack-RPC of
//! msgpack-rpc.rs and async.rs.
//!
//! The protocol differs from 9P: a message does not begin with its length, the id is an element of an array,
//! and the server also sends messages that belong to no call of ours: notifications, and calls of its own,
//! to which we must reply.

use std::io::{self, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use mux::Transport;
use rmpv::Value;

/// A message from the server.
#[derive(Debug)]
pub enum Message {
    /// `[1, id, error, result]`: the reply to a call of ours, with an error or a result.
    Response { id: u32, answer: Answer },
    /// `[0, id, method, params]`: a call of the server, to which we must reply.
    Request(Request),
    /// `[2, method, params]`: a notification, without a reply.
    #[allow(dead_code, reason = "async.rs only prints it")]
    Notification { method: Value },
}

pub type Answer = Result<Value, Value>;

#[derive(Debug)]
pub struct Request {
    pub id: Value,
    pub method: Value,
    pub params: Value,
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

/// The connection. A message without a call goes to `orphan`, which must neither wait nor make calls:
/// another thread replies to the calls of the server.
pub struct Neovim {
    socket: UnixStream,
    /// The same socket, for reading. The lock is never contended, because at most one caller is in `recv`.
    incoming: Mutex<BufReader<UnixStream>>,
    orphan: Box<dyn Fn(Message) + Send + Sync>,
}

impl Neovim {
    pub fn connect(
        path: &str,
        orphan: impl Fn(Message) + Send + Sync + 'static,
    ) -> io::Result<Neovim> {
        let socket = UnixStream::connect(path)?;
        let incoming = Mutex::new(BufReader::new(socket.try_clone()?));
        Ok(Neovim { socket, incoming, orphan: Box::new(orphan) })
    }

    /// Makes `send` and `recv` return: the connection has ended.
    pub fn shut_down(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Both)
    }
}

impl Transport for Neovim {
    /// Its bytes, with the id at the place that [`ID`] says.
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
            // A call of the server has an id as well, but the server has chosen it.
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

    fn orphan(&self, message: Message) {
        (self.orphan)(message);
    }
}

/// Place of the id in a request: always four bytes, although msgpack has shorter forms.
const ID: std::ops::Range<usize> = 3..7;

/// `[0, id, method, params]`, with an id to be set later.
pub fn request(method: &str, params: Vec<Value>) -> Vec<u8> {
    let mut bytes = vec![0x94, 0, 0xce, 0, 0, 0, 0]; // array of 4, the number 0, a number of 4 bytes
    write(&mut bytes, &method.into());
    write(&mut bytes, &params.into());
    bytes
}

/// `[1, id, nil, result]`.
pub fn response(id: Value, result: Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, &vec![1.into(), id, Value::Nil, result].into());
    bytes
}

fn write(bytes: &mut Vec<u8>, value: &Value) {
    rmpv::encode::write_value(bytes, value).expect("memory takes all");
}
