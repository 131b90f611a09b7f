//! ninepmux: many 9P clients, one connection to a 9P server.
//!
//! One idea carries it, as it carries libmux: the multiplexor is a state machine, and everything else
//! is a way to drive it.
//!
//! | module | what it is | may use |
//! |---|---|---|
//! | [`wire`] | 9P's messages: framing, and one table of where tags and fids are; no state | nothing |
//! | [`engine`] | many clients, one server: bytes and events in, bytes and closings out; no I/O, no clock | wire, libmux's tag table |
//! | [`net`] | the loop around them: addresses, sockets, signals; with the feature `program` | engine, the system |

pub mod engine;
#[cfg(feature = "program")]
pub mod net;
pub mod wire;
