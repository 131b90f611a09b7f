//! Counters since the start. They only grow, and outlive clients and connections.
//!
//! | counter | is changed |
//! |---|---|
//! | requests, by type | when a client's message takes effect (`consume_message`) |
//! | replies, refused requests, taken back requests | when the reply is appended to the client's output |
//! | latencies | when the server's reply reaches its client |
//! | bytes | when the driver reports that it has read or written them: once for each system call |
//! | connections, turns | when the driver reports them |

use std::time::Duration;

use super::latency::Latencies;

/// The counters that [`Stats`](super::Stats) does not have as they are, and the time at which they change.
pub struct Counters {
    /// The time of this turn in microseconds. It wraps after 71 minutes.
    pub microseconds: u32,
    /// The time of this turn in milliseconds. It wraps after 49 days.
    pub milliseconds: u32,
    /// The time of this turn in seconds.
    pub seconds: u32,
    /// The messages of clients that have taken effect, by type.
    pub requests: [u64; 256],
    pub latencies: Latencies,
}

impl Counters {
    pub fn new(now: Duration) -> Counters {
        let mut counters = Counters {
            microseconds: 0,
            milliseconds: 0,
            seconds: 0,
            requests: [0; 256],
            latencies: Latencies::new(),
        };
        counters.set_time(now);
        counters
    }

    /// A turn begins at this time.
    pub fn set_time(&mut self, now: Duration) {
        self.microseconds = now.as_micros() as u32;
        self.milliseconds = now.as_millis() as u32;
        self.seconds = now.as_secs() as u32;
    }

    /// Counts the reply to a request of this type, which was sent at this time in microseconds.
    #[inline(always)]
    pub fn add_latency(&mut self, kind: u8, sent_at: u32) {
        self.latencies.add(kind, self.microseconds.wrapping_sub(sent_at));
    }
}
