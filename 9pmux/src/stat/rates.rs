//! Rates: the differences of two snapshots, for the live table.

use std::collections::HashMap;
use std::time::Duration;

use super::snapshot::Snapshot;

/// The order of the clients in the live table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Most requests a second first.
    #[default]
    Requests,
    /// Most bytes a second from the client first.
    In,
    /// Most bytes a second to the client first.
    Out,
    /// Most fids first.
    Fids,
    /// Most requests in flight first.
    Flight,
    /// The order of the numbers.
    Id,
}

impl Order {
    /// All orders, each followed by the next one.
    pub const ALL: [Order; 6] =
        [Order::Requests, Order::In, Order::Out, Order::Fids, Order::Flight, Order::Id];

    /// Returns the name of the column.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Order::Requests => "req",
            Order::In => "in",
            Order::Out => "out",
            Order::Fids => "fids",
            Order::Flight => "flight",
            Order::Id => "id",
        }
    }

    /// Returns the order with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Order> {
        Order::ALL.into_iter().find(|order| order.name() == name)
    }

    /// Returns the next order.
    #[must_use]
    pub fn next(self) -> Order {
        Order::ALL[(self as usize + 1) % Order::ALL.len()]
    }
}

/// A client in the live table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientRates {
    pub id: String,
    pub user: String,
    pub from: String,
    pub requests: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub fids: u64,
    pub flight: u64,
    pub out: u64,
    pub state: String,
}

/// All that the live table shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub program: String,
    pub up: Duration,
    pub server: String,
    pub state: String,
    pub dialect: String,
    /// The time since which the server has been in its state.
    pub since: Duration,
    pub reconnects: u64,
    pub clients: u64,
    pub fids: u64,
    pub in_flight: u64,
    pub requests: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub refused: u64,
    /// The median and the 99th percentile of the latencies, as bounds in microseconds, if there were replies.
    pub median: Option<u64>,
    pub percentile_99: Option<u64>,
    pub rows: Vec<ClientRates>,
}

/// Returns how much a number has grown in a second.
fn per_second(before: u64, after: u64, elapsed: Duration) -> u64 {
    let grown = after.saturating_sub(before) as f64;
    (grown / elapsed.as_secs_f64().max(0.001)).round() as u64
}

impl Rates {
    /// Returns the rates between two snapshots with this time between them.
    pub fn between(before: &Snapshot, after: &Snapshot, elapsed: Duration, order: Order) -> Rates {
        let rate = |name: &str| per_second(before.stat(name), after.stat(name), elapsed);
        let upstream = &after.upstream;
        let empty = Vec::new();
        let server = upstream.rows.first().unwrap_or(&empty);
        let histogram = histogram(before, after);
        Rates {
            program: after.program().to_owned(),
            up: after.up(),
            server: upstream.word(server, "address").to_owned(),
            state: upstream.word(server, "state").to_owned(),
            dialect: upstream.word(server, "dialect").to_owned(),
            since: Duration::from_secs(upstream.number(server, "since")),
            reconnects: after.stat("reconnects_total"),
            clients: after.stat("clients"),
            fids: after.stat("fids"),
            in_flight: after.stat("in_flight"),
            requests: rate("requests_total"),
            bytes_in: rate("bytes_from_clients_total"),
            bytes_out: rate("bytes_to_clients_total"),
            refused: rate("refused_total"),
            median: percentile(&histogram, 50),
            percentile_99: percentile(&histogram, 99),
            rows: rows(before, after, elapsed, order),
        }
    }
}

fn rows(before: &Snapshot, after: &Snapshot, elapsed: Duration, order: Order) -> Vec<ClientRates> {
    let earlier: HashMap<&str, &Vec<String>> =
        before.clients.rows.iter().map(|row| (before.clients.word(row, "id"), row)).collect();
    let row = |row: &Vec<String>| {
        let clients = &after.clients;
        let word = |name: &str| clients.word(row, name).to_owned();
        let rate = |name: &str| {
            let known = earlier.get(clients.word(row, "id"));
            let known = known.map_or(0, |row| before.clients.number(row, name));
            per_second(known, clients.number(row, name), elapsed)
        };
        ClientRates {
            id: word("id"),
            user: word("user"),
            from: word("from"),
            requests: rate("in_msgs"),
            bytes_in: rate("in_bytes"),
            bytes_out: rate("out_bytes"),
            fids: clients.number(row, "fids"),
            flight: clients.number(row, "flight"),
            out: clients.number(row, "out"),
            state: word("state"),
        }
    };
    let mut rows: Vec<ClientRates> = after.clients.rows.iter().map(row).collect();
    let number = |row: &ClientRates| row.id.parse().unwrap_or(u64::MAX);
    rows.sort_by_key(|row| {
        let most = match order {
            Order::Requests => row.requests,
            Order::In => row.bytes_in,
            Order::Out => row.bytes_out,
            Order::Fids => row.fids,
            Order::Flight => row.flight,
            Order::Id => 0,
        };
        (std::cmp::Reverse(most), number(row))
    });
    rows
}

/// Returns the number of replies between the snapshots in each bucket, with the bound of the bucket.
fn histogram(before: &Snapshot, after: &Snapshot) -> Vec<(u64, u64)> {
    let total = |snapshot: &Snapshot, name: &str| -> u64 {
        let latency = &snapshot.latency;
        latency.rows.iter().map(|row| latency.number(row, name)).sum()
    };
    let bounded = after.latency.columns.iter().filter_map(|name| {
        let bound = name.strip_prefix("lt_")?.parse().ok()?;
        Some((bound, total(after, name).saturating_sub(total(before, name))))
    });
    let more = total(after, "more").saturating_sub(total(before, "more"));
    bounded.chain([(u64::MAX, more)]).collect()
}

/// Returns the bound below which so many of a hundred are.
fn percentile(histogram: &[(u64, u64)], percent: u64) -> Option<u64> {
    let all: u64 = histogram.iter().map(|(_, count)| count).sum();
    let mut below = 0;
    let bound = histogram.iter().find(|(_, count)| {
        below += count;
        below * 100 >= all * percent
    });
    bound.map(|(bound, _)| *bound).filter(|_| all > 0)
}
