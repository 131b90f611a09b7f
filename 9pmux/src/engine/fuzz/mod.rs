//! Events out of bytes, for coverage-guided fuzzing (`fuzz/`), and for the same strings at random.
//!
//! [`clients`] has clients send anything, to a server that answers well or not, late or never, in any
//! order; [`server`] has the server send anything to clients that ask well. In both, after each event, the
//! tables are audited, each client is told what it may be told and nothing else, the server is asked what
//! it may be asked, of the fids of the one who asks, and a driver is told of what it has to do. At the
//! end everything has been answered, and nothing is left behind; or the server has gone, and everybody knows.
//!
//! * `bytes.rs`: the bytes, as choices.
//! * `request.rs`: requests out of bytes.
//! * `peer.rs`: a client, and by what each of its messages may be answered.
//! * `names.rs`: what that client knows of its fids.
//! * `server.rs`: the server, and what it may be asked.
//! * `world.rs`: what happens, and the driver.

mod bytes;
mod names;
mod peer;
mod request;
mod server;
mod world;

use world::World;

/// Clients' bytes, any.
///
/// # Panics
/// When something is not as it ought to be.
pub fn clients(bytes: &[u8]) {
    World::new(bytes, false).run();
}

/// The server's bytes, any.
///
/// # Panics
/// As [`clients`].
pub fn server(bytes: &[u8]) {
    World::new(bytes, true).run();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random strings, for those who have no fuzzer; `MUX_BYTES` names a file with one that failed, and with
    /// `MUX_TRACE` it is told what happens.
    fn random(run: fn(&[u8])) {
        if let Some(name) = std::env::var_os("MUX_BYTES") {
            let bytes = std::fs::read(name).expect("the file can be read");
            return run(&bytes);
        }
        let mut random = 1u64;
        for round in 0..1000 {
            let bytes: Vec<u8> = (0..600)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
                    (random >> 40) as u8
                })
                .collect();
            run(&bytes);
        }
    }

    #[test]
    fn random_client_bytes() {
        random(clients);
    }

    #[test]
    fn random_server_bytes() {
        random(server);
    }

    /// What the fuzzer has found worth keeping; not there in a packed crate.
    fn corpus(name: &str, run: fn(&[u8])) {
        let name = format!("{}/../fuzz/corpus/{name}.hex", env!("CARGO_MANIFEST_DIR"));
        let Ok(corpus) = std::fs::read_to_string(name) else { return };
        for line in corpus.lines() {
            let byte = |at: usize| u8::from_str_radix(line.get(at..at + 2)?, 16).ok();
            let bytes: Option<Vec<u8>> = (0..line.len()).step_by(2).map(byte).collect();
            run(&bytes.expect("hexadecimal"));
        }
    }

    #[test]
    fn corpus_of_client_bytes() {
        corpus("nine-clients", clients);
    }

    #[test]
    fn corpus_of_server_bytes() {
        corpus("nine-server", server);
    }
}
