//! The server: it replies at once, always with the same data. A read returns as many bytes as it requests.

use std::os::unix::net::UnixListener;
use std::path::Path;

use super::peer::turn_all;

/// The largest msize that the server agrees to, and that the clients ask for: as that of a Linux mount of 1 MiB.
pub const MSIZE: u32 = MAX_READ + 24;

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

pub fn serve(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket for the stub");
    let answers = [
        (104, message(105, 0, &[0; 13])),
        (124, message(125, 0, &[&[60, 0][..], &[7; 60]].concat())),
        (120, message(121, 0, &[])),
        (108, message(109, 0, &[])),
    ];
    let data = vec![7; MAX_READ as usize];
    let answer = |message: &[u8], output: &mut Vec<u8>| {
        let at = output.len();
        if message[4] == 100 {
            // What the client or 9pmux offers, within the server's own.
            let msize = u32::from_le_bytes(message[7..11].try_into().unwrap()).min(MSIZE);
            output.extend(version_of(101, msize));
            return;
        }
        if message[4] == 116 {
            let count: [u8; 4] = message[19..23].try_into().unwrap();
            let length = u32::from_le_bytes(count).min(MAX_READ);
            output.extend((length + 11).to_le_bytes());
            output.extend([117, message[5], message[6]]);
            output.extend(length.to_le_bytes());
            output.extend_from_slice(&data[..length as usize]);
            return;
        }
        let (_, answer) = answers.iter().find(|(kind, _)| *kind == message[4]).unwrap();
        output.extend_from_slice(answer);
        output[at + 5..at + 7].copy_from_slice(&message[5..7]);
    };
    turn_all(&mut Vec::new(), Some(&listener), answer, || false);
}
