//! A connection to Neovim (`nvim --headless --listen socket`): the transport for msgpack-RPC of
//! msgpack-rpc.rs and async.rs.
//!
//! The protocol differs from 9P: a message does not begin with its length, the id is an element of an array,
//! and the server also sends messages that belong to no call of ours: notifications, and calls of its own,
//! to which we must reply.

use std::io::{self, BufReader, ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use mux::{Client, Receiver, Sender, Transport};
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

/// A client of Neovim.
pub type Neovim = Client<NeovimSender, NeovimReceiver>;

/// Connects. A message without a call goes to `orphan`, which must neither wait nor make calls: another thread
/// replies to the calls of the server.
pub fn connect(path: &str, orphan: impl Fn(Message) + Send + Sync + 'static) -> io::Result<Neovim> {
    let socket = UnixStream::connect(path)?;
    let incoming = NeovimReceiver(BufReader::new(socket.try_clone()?));
    let end = socket.try_clone()?;
    let transport = Transport::new(NeovimSender(socket), incoming)
        .on_orphan(move |message| orphan(message.body))
        .on_hang_up(move || drop(end.shutdown(Shutdown::Both)));
    Client::spawn(transport)
}

pub struct NeovimSender(UnixStream);

impl Sender for NeovimSender {
    /// Its bytes, with the id at the place that [`ID`] says.
    type Request = Vec<u8>;

    fn tags(&self) -> std::ops::Range<u32> {
        0..u32::MAX
    }

    fn send(&mut self, mut request: mux::Message<Vec<u8>>) -> io::Result<()> {
        if let Some(tag) = request.tag() {
            request.body[ID].copy_from_slice(&tag.to_be_bytes());
        }
        self.0.write_all(&request.body)
    }
}

pub struct NeovimReceiver(BufReader<UnixStream>);

impl Receiver for NeovimReceiver {
    type Reply = Message;

    fn recv(&mut self) -> io::Result<Option<mux::Message<Message>>> {
        let value = rmpv::decode::read_value(&mut self.0).map_err(io::Error::other)?;
        let message = Message::parse(value).ok_or(ErrorKind::InvalidData)?;
        let tag = match &message {
            Message::Response { id, .. } => Some(*id),
            // A call of the server has an id as well, but the server has chosen it.
            Message::Request(_) | Message::Notification { .. } => None,
        };
        Ok(Some(mux::Message::new(tag, message)))
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
