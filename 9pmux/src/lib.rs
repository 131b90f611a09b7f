//! ninepmux: many 9P clients share one connection to a 9P server.
//!
//! As in libmux, the multiplexor is a state machine without I/O, and everything else drives it.
//!
//! | module | content | depends on |
//! |---|---|---|
//! | [`wire`] | the messages of 9P: framing, and one table of the positions of tags and fids; no state | nothing |
//! | [`engine`] | many clients, one server: bytes and events in, bytes and closings out; no I/O, no clock | wire, libmux's tag pool |
//! | [`link`] | two engines and one stream that is a client and a server; no I/O, no clock | engine |
//! | [`client`] | a small client of 9P2000, over libmux's framed transports | wire, libmux |
//! | `net` | the event loop: addresses, sockets, signals; with the feature `program` | engine, the system |
//! | `stat` | `9pmux stat`: the state of a running 9pmux; with the feature `stat` | net, wire |

pub mod client;
pub mod engine;
pub mod link;
#[cfg(feature = "program")]
pub mod net;
#[cfg(feature = "stat")]
pub mod stat;
pub mod wire;
