//! The server: it replies at once, always with the same data. A read returns as many bytes as it requests, and each
//! walk succeeds.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use super::peer::turn_all;

/// The largest msize that the server agrees to, and that the clients ask for: as that of a Linux mount of 1 MiB.
pub const MSIZE: u32 = MAX_READ + 24;

const TREAD: u8 = 116;

/// The largest number of bytes of a read.
pub const MAX_READ: u32 = 1024 * 1024;

pub fn message(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut message = (body.len() as u32 + 7).to_le_bytes().to_vec();
    message.push(kind);
    message.extend(tag.to_le_bytes());
    message.extend(body);
    message
}

pub fn version(kind: u8) -> Vec<u8> {
    version_of(kind, MSIZE)
}

fn version_of(kind: u8, msize: u32) -> Vec<u8> {
    message(kind, 0xffff, &[&msize.to_le_bytes()[..], b"\x06\x009P2000"].concat())
}

/// Replies to a message.
fn reply(data: &[u8], message: &[u8], output: &mut Vec<u8>) {
    let (kind, tag) = (message[4], u16::from_le_bytes([message[5], message[6]]));
    match kind {
        100 => {
            // What the client or 9pmux offers, within the server's own.
            let msize = u32::from_le_bytes(message[7..11].try_into().unwrap()).min(MSIZE);
            output.extend(version_of(101, msize));
        }
        104 => output.extend(self::message(105, tag, &[0; 13])),
        124 => {
            output.extend([69, 0, 0, 0, 125, message[5], message[6], 60, 0]);
            output.extend([7; 60]);
        }
        116 => {
            let count: [u8; 4] = message[19..23].try_into().unwrap();
            let length = u32::from_le_bytes(count).min(MAX_READ);
            output.extend((length + 11).to_le_bytes());
            output.extend([117, message[5], message[6]]);
            output.extend(length.to_le_bytes());
            output.extend_from_slice(&data[..length as usize]);
        }
        110 => {
            let count = message[15];
            let qids = vec![0; 13 * usize::from(count)];
            output.extend(self::message(111, tag, &[&[count, 0][..], &qids].concat()));
        }
        118 => output.extend(self::message(119, tag, &message[19..23])),
        108 | 120 => output.extend([7, 0, 0, 0, kind + 1, message[5], message[6]]),
        _ => panic!("a message of type {kind}"),
    }
}

pub fn serve(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket for the stub");
    let data = vec![7; MAX_READ as usize];
    let answer = |message: &[u8], output: &mut Vec<u8>| reply(&data, message, output);
    turn_all(&mut Vec::new(), Some(&listener), answer, || false);
}

/// A server with one connection and this many workers, each of which takes `time` for a request. A Tread never has a
/// reply.
pub fn serve_slowly(path: &Path, time: Duration, workers: usize) {
    let listener = UnixListener::bind(path).expect("a socket for the stub");
    let (mut stream, _) = listener.accept().expect("a connection");
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    let receiver = Mutex::new(receiver);
    let replies = Mutex::new(stream.try_clone().expect("a descriptor"));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let next = || receiver.lock().unwrap().recv();
                while let Ok(message) = next() {
                    thread::sleep(time);
                    let mut output = Vec::new();
                    reply(&[], &message, &mut output);
                    if replies.lock().unwrap().write_all(&output).is_err() {
                        return; // the measurement is over
                    }
                }
            });
        }
        while let Some(message) = next_message(&mut stream) {
            if message[4] != TREAD {
                sender.send(message).expect("the workers");
            }
        }
        drop(sender);
    });
}

fn next_message(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut message = vec![0; 4];
    stream.read_exact(&mut message).ok()?;
    let size = u32::from_le_bytes(message[..4].try_into().unwrap()) as usize;
    message.resize(size, 0);
    stream.read_exact(&mut message[4..]).ok()?;
    Some(message)
}
