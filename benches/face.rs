//! Benchmarks of one call through the Rust face, on one thread, with a transport in memory that does almost nothing.
//! Run them with `make bench-rust`, or some of them with `cargo bench --bench face -- rpc`.
//!
//! A sample is 1000 calls, since a single call is shorter than the resolution of the clock.
//!
//! Benchmarks of the C face, over sockets and with several threads, are in `bench.c`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use divan::{Bencher, black_box};
use mux::{Call, Message, Mux, Receiver, Sender, Transport, TryRecv};

/// The replies that have not been received. The server sends each number back. Used by one thread, so it needs
/// no lock.
type Memory = Rc<RefCell<VecDeque<Message<u64>>>>;

struct MemorySender(Memory);

struct MemoryReceiver(Memory);

impl Sender for MemorySender {
    type Request = u64;

    fn tags(&self) -> Range<u32> {
        0..u32::from(u16::MAX)
    }

    fn send(&mut self, request: Message<u64>) -> io::Result<()> {
        self.0.borrow_mut().push_back(request);
        Ok(())
    }
}

impl Receiver for MemoryReceiver {
    type Reply = u64;

    fn recv(&mut self) -> io::Result<Option<Message<u64>>> {
        Ok(self.0.borrow_mut().pop_front())
    }
}

impl TryRecv for MemoryReceiver {
    fn try_recv(&mut self) -> Poll<io::Result<Option<Message<u64>>>> {
        match self.0.borrow_mut().pop_front() {
            Some(reply) => Poll::Ready(Ok(Some(reply))),
            None => Poll::Pending,
        }
    }
}

fn memory() -> Mux<MemorySender, MemoryReceiver> {
    let memory = Memory::default();
    Mux::new(Transport::new(MemorySender(memory.clone()), MemoryReceiver(memory)).try_recvs())
}

fn finish(call: &mut Call<'_, MemorySender, MemoryReceiver>) -> u64 {
    loop {
        if let Poll::Ready(reply) = call.try_finish() {
            return reply.unwrap();
        }
    }
}

/// The cost of the transport without a Mux, for comparison.
#[divan::bench(sample_size = 1000, sample_count = 500)]
fn floor(bencher: Bencher) {
    let memory = Memory::default();
    let (mut sender, mut receiver) = (MemorySender(memory.clone()), MemoryReceiver(memory));
    let mut asked = 0;
    bencher.bench_local(|| {
        asked += 1;
        let request = Message::tagged(0, black_box(asked));
        sender.send(request).unwrap();
        assert_eq!(receiver.recv().unwrap(), Some(request));
    });
}

#[divan::bench(sample_size = 1000, sample_count = 500)]
fn rpc(bencher: Bencher) {
    let mux = memory();
    let mut asked = 0;
    bencher.bench_local(|| {
        asked += 1;
        assert_eq!(mux.rpc(black_box(asked)).unwrap(), asked);
    });
}

#[divan::bench(sample_size = 1000, sample_count = 500)]
fn rpc_timeout(bencher: Bencher) {
    let mux = memory();
    let mut asked = 0;
    bencher.bench_local(|| {
        asked += 1;
        let reply = mux.rpc_timeout(black_box(asked), Duration::from_secs(1));
        assert_eq!(reply.unwrap(), asked);
    });
}

/// Starts a call and collects the oldest one, with `outstanding` calls in flight.
#[divan::bench(args = [1, 16, 256, 4096, 65535], sample_size = 1000, sample_count = 500)]
fn start_can_finish(bencher: Bencher, outstanding: u64) {
    let mux = memory();
    let mut asked = 0;
    let mut calls: VecDeque<_> = (1..outstanding).map(|ask| mux.start(ask).unwrap()).collect();
    bencher.bench_local(|| {
        calls.push_back(mux.start(black_box(asked + outstanding)).unwrap());
        asked += 1;
        let mut oldest = calls.pop_front().unwrap();
        assert_eq!(finish(&mut oldest), asked);
    });
}

fn main() {
    divan::main();
}
