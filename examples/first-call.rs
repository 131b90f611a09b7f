//! Calls a server of messages with a length and a tag.

use mux::{Client, framed};
use std::error::Error;
use std::net::TcpStream;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("localhost:7000".to_string());
    let stream = TcpStream::connect(address)?;
    let client = Client::new(framed::transport(stream, framed::LengthPrefix::new())?);
    let reply = client.rpc(b"hello".to_vec())?;
    println!("{}", String::from_utf8_lossy(&reply));
    Ok(())
}
