//! The server: it replies at once, always with the same data.

use std::os::unix::net::UnixListener;
use std::path::Path;

use super::peer::turn_all;

pub const MSIZE: u32 = 65536;

/// The number of bytes that a Tread requests and receives.
pub const READ: u32 = 4096;

pub fn message(kind: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut message = (body.len() as u32 + 7).to_le_bytes().to_vec();
    message.push(kind);
    message.extend(tag.to_le_bytes());
    message.extend(body);
    message
}

pub fn version(kind: u8) -> Vec<u8> {
    message(kind, 0xffff, &[&MSIZE.to_le_bytes()[..], b"\x06\x009P2000"].concat())
}

pub fn serve(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket for the stub");
    let answers = [
        (100, version(101)),
        (104, message(105, 0, &[0; 13])),
        (124, message(125, 0, &[&[60, 0][..], &[7; 60]].concat())),
        (116, message(117, 0, &[&READ.to_le_bytes()[..], &[7; READ as usize]].concat())),
        (120, message(121, 0, &[])),
        (108, message(109, 0, &[])),
    ];
    let answer = |message: &[u8], output: &mut Vec<u8>| {
        let at = output.len();
        let (_, answer) = answers.iter().find(|(kind, _)| *kind == message[4]).unwrap();
        output.extend_from_slice(answer);
        output[at + 5..at + 7].copy_from_slice(&message[5..7]);
    };
    turn_all(&mut Vec::new(), Some(&listener), answer, || false);
}
