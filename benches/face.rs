//! Benchmarks of one call through the Rust face, on one thread, with a transport in memory that does almost nothing.
//! Run them with `make bench-rust`, or some of them with `cargo bench --bench face -- rpc`.
//!
//! A sample is 1000 calls, since a single call is shorter than the resolution of the clock.
//!
//! Benchmarks of the C face, over sockets and with several threads, are in `bench.c`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Range;
use std::time::Duration;

use divan::{Bencher, black_box};
use mux::{Call, Finished, Mux, Polled, Transport};

/// A tag and a number. The server sends the message back.
type Message = (u32, u64);

/// The replies that have not been received. Used by one thread, so it needs no lock.
#[derive(Default)]
struct Memory(RefCell<VecDeque<Message>>);

impl Transport for Memory {
    type Request = Message;
    type Reply = Message;
    type Failure = Infallible;
    type Watch = ();

    fn range(&self) -> Range<u32> {
        0..u32::from(u16::MAX)
    }

    fn set_tag(&self, request: &mut Message, tag: u32) -> Result<(), Infallible> {
        request.0 = tag;
        Ok(())
    }

    fn tag(&self, reply: &Message) -> Option<u32> {
        Some(reply.0)
    }

    fn send(&self, request: &mut Message) -> Result<(), Infallible> {
        self.0.borrow_mut().push_back(*request);
        Ok(())
    }

    fn recv(&self) -> Option<Message> {
        self.0.borrow_mut().pop_front()
    }

    fn can_try(&self) -> bool {
        true
    }

    fn try_recv(&self) -> Polled<Message> {
        self.recv().map_or(Polled::Nothing, Polled::Message)
    }
}

fn finish(call: &mut Call<'_, Memory>) -> Message {
    loop {
        match call.can_finish() {
            Finished::Reply(reply) => return reply,
            Finished::Pending => {}
            Finished::Failed(error) => panic!("{error}"),
        }
    }
}

/// The cost of the transport without a Mux, for comparison.
#[divan::bench(sample_size = 1000, sample_count = 500)]
fn floor(bencher: Bencher) {
    let memory = Memory::default();
    let mut asked = 0;
    bencher.bench_local(|| {
        asked += 1;
        let mut request = (0, black_box(asked));
        let Ok(()) = memory.send(&mut request);
        assert_eq!(memory.recv(), Some(request));
    });
}

#[divan::bench(sample_size = 1000, sample_count = 500)]
fn rpc(bencher: Bencher) {
    let mux = Mux::new(Memory::default());
    let mut asked = 0;
    bencher.bench_local(|| {
        asked += 1;
        assert_eq!(mux.rpc((0, black_box(asked))).unwrap().1, asked);
    });
}

#[divan::bench(sample_size = 1000, sample_count = 500)]
fn rpc_timeout(bencher: Bencher) {
    let mux = Mux::new(Memory::default());
    let mut asked = 0;
    bencher.bench_local(|| {
        asked += 1;
        let reply = mux.rpc_timeout((0, black_box(asked)), Duration::from_secs(1));
        assert_eq!(reply.unwrap().1, asked);
    });
}

/// Starts a call and collects the oldest one, with `outstanding` calls in flight.
#[divan::bench(args = [1, 16, 256, 4096, 65535], sample_size = 1000, sample_count = 500)]
fn start_can_finish(bencher: Bencher, outstanding: u64) {
    let mux = Mux::new(Memory::default());
    let mut asked = 0;
    let mut calls: VecDeque<_> = (1..outstanding).map(|ask| mux.start((0, ask)).unwrap()).collect();
    bencher.bench_local(|| {
        calls.push_back(mux.start((0, black_box(asked + outstanding))).unwrap());
        asked += 1;
        let mut oldest = calls.pop_front().unwrap();
        assert_eq!(finish(&mut oldest).1, asked);
    });
}

fn main() {
    divan::main();
}
