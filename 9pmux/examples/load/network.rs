//! A network of a limited rate, as a relay between two TCP sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

/// The buffers of the relay, which a real network does not have.
const BUFFER: usize = 32 * 1024;

/// Starts a relay to this address, which passes so many bytes a second in each direction, and returns its own address.
/// It runs as long as the process.
pub fn start(to: SocketAddr, rate: f64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    // A connection inherits it.
    sockopt::set_socket_recv_buffer_size(&listener, BUFFER).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for one in listener.incoming().flatten() {
            let Ok(other) = TcpStream::connect(to) else { continue };
            for stream in [&one, &other] {
                stream.set_nodelay(true).unwrap();
                sockopt::set_socket_recv_buffer_size(stream, BUFFER).unwrap();
                sockopt::set_socket_send_buffer_size(stream, BUFFER).unwrap();
            }
            let (from, to) = (one.try_clone().unwrap(), other.try_clone().unwrap());
            thread::spawn(move || pass(from, to, rate));
            thread::spawn(move || pass(other, one, rate));
        }
    });
    address
}

fn pass(mut from: TcpStream, mut to: TcpStream, rate: f64) {
    let (mut bytes, mut free_at) = ([0; 8192], Instant::now());
    while let Ok(n @ 1..) = from.read(&mut bytes) {
        free_at = free_at.max(Instant::now()) + Duration::from_secs_f64(n as f64 / rate);
        thread::sleep(free_at.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
}
