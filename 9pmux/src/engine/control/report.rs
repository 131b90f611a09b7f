//! The texts of the files: `version`, `stats`, `latency` and `fids` here, the others in files of their own.

use super::files::File;
use super::text::{Lines, word};
use crate::engine::Engine;
use crate::engine::fids::{FidState, Owner};
use crate::engine::latency::BOUNDED;
use crate::wire::MESSAGES;

/// The maximum number of lines of `fids`.
const MAX_FID_LINES: usize = 10_000;

/// Whether a number only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatKind {
    Counter,
    Gauge,
}

/// A line of `stats`, and its description for `metrics`.
pub struct Stat {
    pub name: &'static str,
    pub kind: StatKind,
    pub help: &'static str,
    pub value: u64,
}

/// Returns the types of T-messages, with their names.
pub fn request_types() -> impl Iterator<Item = (u8, String)> {
    let requests = MESSAGES.iter().filter(|row| row.request.is_some());
    requests.map(|row| (row.number, format!("T{}", row.name)))
}

impl Engine {
    /// Returns true if the paths of fids are known.
    pub(super) fn knows_paths(&self) -> bool {
        self.restore.is_some()
    }

    /// Returns the text of a file that is being opened.
    pub(super) fn text_of(&mut self, file: File) -> Vec<u8> {
        let mut lines = Lines::default();
        match file {
            File::Root | File::Ctl => {}
            File::Version => self.write_version(&mut lines),
            File::Stats => self.write_stats(&mut lines),
            File::Clients => self.write_clients(&mut lines),
            File::Upstream => self.write_upstreams(&mut lines),
            File::Latency => self.write_latency(&mut lines),
            File::Fids => self.write_fids(&mut lines),
            File::Metrics => self.write_metrics(&mut lines),
        }
        lines.into_bytes()
    }

    fn write_version(&self, lines: &mut Lines) {
        if let Some(tree) = &self.config.control {
            let up = self.now.as_secs();
            lines.push(format_args!("{} pid {} up {up}", tree.program, tree.pid));
        }
    }

    fn write_stats(&mut self, lines: &mut Lines) {
        for stat in self.all_stats() {
            lines.push(format_args!("{} {}", stat.name, stat.value));
        }
        for (name, count) in self.requests_by_type() {
            lines.push(format_args!("requests_total{{type=\"{name}\"}} {count}"));
        }
    }

    /// Returns the number of messages of each type, and of messages of no type.
    pub(super) fn requests_by_type(&self) -> Vec<(String, u64)> {
        let mut types: Vec<(String, u64)> =
            request_types().map(|(kind, name)| (name, self.requests_of(kind))).collect();
        let known: u64 = types.iter().map(|(_, count)| count).sum();
        types.push(("other".to_owned(), self.stats().received - known));
        types
    }

    /// Returns all counters and gauges, in their order.
    pub(super) fn all_stats(&mut self) -> Vec<Stat> {
        use StatKind::{Counter, Gauge};
        let (waiting, slow, dead) = self.count_clients();
        let stats = self.stats();
        let refused = self.control.facts.refused_connections;
        let memory = self.memory_in_use() as u64;
        let mut all = Vec::new();
        let mut add = |name, kind, help, value| all.push(Stat { name, kind, help, value });
        add("clients", Gauge, "Connected clients.", stats.clients as u64);
        add("clients_total", Counter, "Clients that have connected.", stats.connections);
        let accepted = stats.connections + refused;
        add("accepted_total", Counter, "Connections that were accepted.", accepted);
        let help = "Connections that were accepted and closed, because there were too many.";
        add("refused_connections_total", Counter, help, refused);
        add("requests_total", Counter, "Messages of clients.", stats.received);
        add("replies_total", Counter, "Replies of the server to clients.", stats.replied);
        let help = "Requests that got an error of 9pmux.";
        add("refused_total", Counter, help, stats.local_errors);
        let help = "Messages of the server that belong to no request.";
        add("dropped_total", Counter, help, stats.dropped);
        add("flushed_total", Counter, "Flushes of clients that have a reply.", stats.flushed);
        add("in_flight", Gauge, "Requests at the server.", stats.requests as u64);
        add("fids", Gauge, "Fids at the server.", stats.fids as u64);
        let help = "Fids of clients that the server came back without.";
        add("fids_dead", Gauge, help, dead);
        let help = "Requests and fids that departed clients have left at the server.";
        add("left_behind", Gauge, help, stats.in_cleanup as u64);
        let help = "Bytes that clients have sent.";
        add("bytes_from_clients_total", Counter, help, stats.client_bytes_read);
        let help = "Bytes that were written to clients.";
        add("bytes_to_clients_total", Counter, help, stats.client_bytes_written);
        let help = "Bytes that were written to the server.";
        add("bytes_to_server_total", Counter, help, stats.server_bytes_written);
        let help = "Bytes that the server has sent.";
        add("bytes_from_server_total", Counter, help, stats.server_bytes_read);
        add("waiting_clients", Gauge, "Clients with a request that waits.", waiting);
        let help = "Clients that have not taken their output for a second.";
        add("slow_clients", Gauge, help, slow);
        add("memory_bytes", Gauge, "Memory of buffers.", memory);
        add("turns_total", Counter, "Turns of the event loop.", stats.turns);
        if self.restore.is_some() {
            let help = "Connections to the server after the first.";
            add("reconnects_total", Counter, help, stats.reconnects);
            let help = "Fids that were restored.";
            add("replayed_fids_total", Counter, help, stats.replayed_fids);
            let help = "Fids that could not be restored.";
            add("lost_fids_total", Counter, help, stats.lost_fids);
        }
        if let Some(link) = self.control.facts.link {
            let help = "Requests of the other end.";
            add("link_peer_requests_total", Counter, help, link.peer_requests);
            let help = "Keepalives to the other end.";
            add("link_keepalives_total", Counter, help, link.keepalives);
            let help = "Times that a request has waited for the window.";
            add("link_window_waits_total", Counter, help, link.window_waits);
        }
        all
    }

    fn write_latency(&self, lines: &mut Lines) {
        let bounds: Vec<String> = (1..=BOUNDED).map(|n| format!("lt_{}", 1_u64 << n)).collect();
        lines.push(format_args!("type count sum_us {} more", bounds.join(" ")));
        for (kind, name) in request_types() {
            let latencies = self.latencies_of(kind);
            let buckets = latencies.buckets[..BOUNDED].iter();
            let buckets: Vec<String> = buckets.map(u64::to_string).collect();
            let more: u64 = latencies.buckets[BOUNDED..].iter().sum();
            let (count, sum, buckets) = (latencies.count(), latencies.sum, buckets.join(" "));
            lines.push(format_args!("{name} {count} {sum} {buckets} {more}"));
        }
    }

    /// Lists the forwarded fids of clients, with the paths that are known.
    fn write_fids(&mut self, lines: &mut Lines) {
        lines.push(format_args!("id fid upstream_fid state path"));
        let mut count = 0;
        for number in 0..self.fids.highest() as u32 {
            if !self.fids.is_allocated(number) {
                continue;
            }
            let record = *self.fids.get(number);
            let Owner::Client(client_index) = record.owner else {
                continue;
            };
            if count == MAX_FID_LINES {
                lines.push(format_args!("\u{2026}"));
                return;
            }
            count += 1;
            let id = self.clients.id(client_index).number();
            let state = match record.state {
                FidState::Pending => "pending",
                FidState::Live if record.opened => "open",
                FidState::Live => "live",
                FidState::Uncertain => "uncertain",
                FidState::Lost => "lost",
                FidState::Away => "away",
                FidState::Restoring => "restoring",
                FidState::Absent => "absent",
            };
            let path = self.restore.as_ref().and_then(|restore| restore.path_of(number));
            let path = path.map_or_else(|| "-".to_owned(), |path| word(&path));
            lines.push(format_args!("{id} {} {number} {state} {path}", record.client_fid));
        }
    }
}
