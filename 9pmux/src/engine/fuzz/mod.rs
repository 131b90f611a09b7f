//! One random world for the engine: clients, a server and a driver, and what each of them may see.
//!
//! A string of bytes is a sequence of choices and events. Seeds, proptest and libFuzzer (`fuzz/`) supply the strings,
//! for [`clients`] and for [`server`]. After each event the tables are audited; each client has the replies that
//! it may have; the server has only requests that a client has sent, with that client's fids; and the driver has been
//! told what it must do. At the end every request has its reply and nothing is left behind, or the server has
//! disconnected and every client knows.
//!
//! | file | content |
//! |---|---|
//! | `bytes.rs` | the bytes, as choices |
//! | `request.rs` | what clients send, valid and malformed |
//! | `model_client.rs` | a client, and the replies that each of its messages may have |
//! | `names.rs` | the client's knowledge of its fids |
//! | `server.rs` | the server, and the requests that it may have |
//! | `descriptors.rs` | the files and programs of descriptors |
//! | `rules.rs` | the rules of listeners |
//! | `redial.rs` | changes of the dialect and of the connection |
//! | `sharing.rs` | users, and the tags and the memory that they share |
//! | `control.rs` | clients that use the control tree |
//! | `world.rs` | the events, and the driver |
//! | `messages.rs` | builders for messages, also for the unit tests |
//!
//! A new rule of the engine belongs here:
//!
//! | rule | place |
//! |---|---|
//! | a message or field that clients may send | `ModelClient::request` |
//! | a reason to refuse a message | `ModelClient::is_possible` |
//! | a field that is changed on the way to the server | `essence` in `model_client.rs`, and an assertion in `Server::sees` |
//! | a field that is changed on the way to the client | an assertion in `ModelClient::replied` |
//! | an effect on a fid | `Names::settle` |
//! | a limit, or an option | a choice in `World::new`, and an assertion in `World::look` |
//! | what remains at the end | `World::leave` |
//!
//! A new choice changes what all strings mean, so the corpora should then be made again (`KEEP=1 make fuzz`).

mod bytes;
mod control;
mod descriptors;
#[cfg_attr(not(test), allow(dead_code, reason = "the unit tests use the rest"))]
pub(crate) mod messages;
mod model_client;
mod names;
mod redial;
mod request;
#[cfg(test)]
mod restarts;
mod rules;
mod server;
mod sharing;
mod world;

#[cfg(test)]
pub(super) use restarts::run as run_restarts;
use world::World;

/// Runs clients that send anything with a server that obeys the protocol.
///
/// # Panics
/// Panics if something is not as it must be.
pub fn clients(bytes: &[u8]) {
    run(bytes, false);
}

/// Runs a server that sends anything with clients that mostly obey the protocol.
///
/// # Panics
/// As [`clients`].
pub fn server(bytes: &[u8]) {
    run(bytes, true);
}

/// Returns the number of steps, of replies that clients have received, and of connections after the first.
pub(super) fn run(bytes: &[u8], wild: bool) -> (u64, u64, u64) {
    let mut world = World::new(bytes, wild);
    world.run();
    (world.steps, world.replies, world.redials.count)
}

/// Returns the bytes of a seed.
#[cfg(test)]
pub fn bytes_of_seed(seed: u64) -> Vec<u8> {
    let mut random = messages::Random::new(seed);
    let length = 1 + random.below(6000);
    (0..length).map(|_| random.next() as u8).collect()
}
