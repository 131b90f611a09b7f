//! Limits for lines of the log that clients can cause, so that no client can fill it.
//!
//! Each kind of line has a limit for each client, a higher one for the user or host that its clients belong
//! to, since a client can connect again and again, and one in all. Lines beyond a limit are suppressed and
//! counted; the number is logged once a second.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::info;

use super::stream::Origin;

/// A kind of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineKind {
    Connected,
    Disconnected,
    Closed,
    Refused,
    Unexpected,
    Version,
}

impl LineKind {
    const ALL: [LineKind; 6] = [
        LineKind::Connected,
        LineKind::Disconnected,
        LineKind::Closed,
        LineKind::Refused,
        LineKind::Unexpected,
        LineKind::Version,
    ];

    fn describe(self) -> &'static str {
        match self {
            LineKind::Connected => "clients that connected",
            LineKind::Disconnected => "clients that disconnected",
            LineKind::Closed => "clients that were closed",
            LineKind::Refused => "messages that were refused",
            LineKind::Unexpected => "unexpected messages of the server",
            LineKind::Version => "versions that the server agreed to or refused",
        }
    }
}

/// A rate, and the number of lines that may exceed it at once.
struct Rate {
    per_second: u32,
    burst: u32,
}

const CLIENT_RATE: Rate = Rate { per_second: 10, burst: 20 };
const ORIGIN_RATE: Rate = Rate { per_second: 20, burst: 100 };
const TOTAL_RATE: Rate = Rate { per_second: 100, burst: 500 };

/// Time between two reports of suppressed lines.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of limits that are tracked for clients and for origins. Beyond it, only the limit in all
/// applies to further ones.
const MAX_TRACKED: usize = 4096;

/// The time at which a limit is unused again. Each line moves it by the time that the rate allows for one;
/// a line is permitted while it is not further away than the burst allows.
#[derive(Clone, Copy, Default)]
struct LineBudget {
    unused_at: Duration,
}

impl LineBudget {
    fn has_room(self, rate: &Rate, now: Duration) -> bool {
        let interval = Duration::from_secs(1) / rate.per_second;
        self.unused_at <= now + interval * (rate.burst - 1)
    }

    fn consume(&mut self, rate: &Rate, now: Duration) {
        self.unused_at = self.unused_at.max(now) + Duration::from_secs(1) / rate.per_second;
    }
}

/// The limits, and the number of suppressed lines.
pub struct LineLimit {
    started: Instant,
    by_client: HashMap<(LineKind, usize), LineBudget>,
    by_origin: HashMap<(LineKind, Origin), LineBudget>,
    total: [LineBudget; LineKind::ALL.len()],
    suppressed: [Suppressed; LineKind::ALL.len()],
    report_at: Option<Instant>,
    /// The origins of the connected clients, by index.
    origins: Vec<Origin>,
}

#[derive(Clone, Copy, Default)]
struct Suppressed {
    count: u64,
    /// The client that has caused the last one.
    client: Option<usize>,
}

impl LineLimit {
    pub fn new(now: Instant) -> LineLimit {
        LineLimit {
            started: now,
            by_client: HashMap::new(),
            by_origin: HashMap::new(),
            total: Default::default(),
            suppressed: Default::default(),
            report_at: None,
            origins: Vec::new(),
        }
    }

    /// Records the origin of a client that has connected, and forgets the previous client of that index.
    pub fn client_connected(&mut self, client: usize, origin: Origin) {
        if self.origins.len() <= client {
            self.origins.resize(client + 1, Origin::Unknown);
        }
        self.origins[client] = origin;
        for kind in LineKind::ALL {
            self.by_client.remove(&(kind, client));
        }
    }

    /// Returns true if a line that this client has caused may be logged. Otherwise counts it as suppressed.
    pub fn allows(&mut self, kind: LineKind, client: Option<usize>, now: Instant) -> bool {
        let time = now.saturating_duration_since(self.started);
        let total = &mut self.total[kind as usize];
        let mut limits = vec![(total, &TOTAL_RATE)];
        if let Some(client) = client {
            let origin = self.origins.get(client).copied().unwrap_or(Origin::Unknown);
            limits.extend(
                tracked(&mut self.by_client, (kind, client), time)
                    .map(|limit| (limit, &CLIENT_RATE)),
            );
            limits.extend(
                tracked(&mut self.by_origin, (kind, origin), time)
                    .map(|limit| (limit, &ORIGIN_RATE)),
            );
        }
        if limits.iter().all(|(limit, rate)| limit.has_room(rate, time)) {
            limits.into_iter().for_each(|(limit, rate)| limit.consume(rate, time));
            return true;
        }
        let suppressed = &mut self.suppressed[kind as usize];
        suppressed.count += 1;
        suppressed.client = client;
        self.report_at.get_or_insert(now + REPORT_INTERVAL);
        false
    }

    /// The time of the next report, if lines have been suppressed.
    pub fn report_at(&self) -> Option<Instant> {
        self.report_at
    }

    /// Logs the number of suppressed lines if a report is due.
    pub fn report(&mut self, now: Instant) {
        if self.report_at.is_some_and(|at| at <= now) {
            self.report_now();
        }
    }

    /// Logs the number of suppressed lines, if there are any.
    pub fn report_now(&mut self) {
        self.take_reports().into_iter().for_each(|report| info!("{report}"));
    }

    fn take_reports(&mut self) -> Vec<String> {
        self.report_at = None;
        let suppressed = std::mem::take(&mut self.suppressed);
        let reports = LineKind::ALL.into_iter().zip(suppressed);
        reports
            .filter(|(_, suppressed)| suppressed.count > 0)
            .map(|(kind, suppressed)| {
                let last = match suppressed.client {
                    Some(client) => format!(", the last about client {client}"),
                    None => String::new(),
                };
                format!(
                    "{} more lines about {} suppressed{last}",
                    suppressed.count,
                    kind.describe()
                )
            })
            .collect()
    }
}

/// Returns the limit of `key`. Limits that are unused are forgotten when there are too many.
fn tracked<K: std::hash::Hash + Eq>(
    limits: &mut HashMap<K, LineBudget>,
    key: K,
    now: Duration,
) -> Option<&mut LineBudget> {
    if limits.len() >= MAX_TRACKED && !limits.contains_key(&key) {
        limits.retain(|_, limit| limit.unused_at > now);
        if limits.len() >= MAX_TRACKED {
            return None;
        }
    }
    Some(limits.entry(key).or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use LineKind::{Closed, Connected, Unexpected};

    /// Returns how many of a number of lines, spread evenly over one second, are permitted.
    fn permitted_in(
        limit: &mut LineLimit,
        start: Instant,
        lines: u32,
        mut client: impl FnMut(u32) -> Option<usize>,
    ) -> usize {
        let step = Duration::from_secs(1) / lines;
        let allowed = |n: &u32| limit.allows(Closed, client(*n), start + step * *n);
        (0..lines).filter(allowed).count()
    }

    fn with_clients(now: Instant, clients: usize, origin: impl Fn(usize) -> Origin) -> LineLimit {
        let mut limit = LineLimit::new(now);
        for client in 0..clients {
            limit.client_connected(client, origin(client));
        }
        limit
    }

    #[test]
    fn one_client_is_limited_to_its_rate_and_burst() {
        let now = Instant::now();
        let mut limit = with_clients(now, 2, |n| Origin::User(n as u32));
        for second in 0..20 {
            let now = now + Duration::from_secs(second);
            let lines = permitted_in(&mut limit, now, 21_000, |_| Some(0));
            assert_eq!(lines, if second == 0 { 29 } else { 10 }, "second {second}");
            assert!(limit.allows(Closed, Some(1), now), "another user is not affected");
            assert!(limit.allows(Connected, Some(0), now), "another kind is not affected");
        }
    }

    #[test]
    fn many_clients_of_one_user_share_a_limit() {
        let now = Instant::now();
        let mut limit = with_clients(now, 1001, |n| Origin::User((n == 1000).into()));
        let lines = permitted_in(&mut limit, now, 21_000, |n| Some(n as usize % 1000));
        assert_eq!(lines, 119);
        // Before the next line is due, a client that connects again has no line either.
        let now = now + Duration::from_millis(960);
        assert!(limit.allows(Closed, Some(1000), now), "another user has");
        limit.client_connected(0, Origin::User(0));
        assert!(!limit.allows(Closed, Some(0), now));
    }

    #[test]
    fn many_hosts_share_a_limit_and_bounded_memory() {
        let now = Instant::now();
        let hosts = 20_000;
        let mut limit =
            with_clients(now, hosts, |n| Origin::Host(std::net::Ipv6Addr::from(n as u128).into()));
        let lines = permitted_in(&mut limit, now, hosts as u32, |n| Some(n as usize));
        assert_eq!(lines, 599);
        assert!(limit.by_client.len() <= MAX_TRACKED && limit.by_origin.len() <= MAX_TRACKED);
    }

    #[test]
    fn suppressed_lines_are_reported_once_a_second() {
        let now = Instant::now();
        let mut limit = with_clients(now, 1, |_| Origin::Unknown);
        assert_eq!(permitted_in(&mut limit, now, 1000, |_| Some(0)), 29);
        let at = limit.report_at().unwrap();
        assert!(at > now + Duration::from_secs(1) && at < now + Duration::from_secs(2));
        limit.report(now);
        assert_eq!(limit.report_at(), Some(at), "not due yet");
        assert_eq!(
            limit.take_reports(),
            ["971 more lines about clients that were closed suppressed, the last about client 0"]
        );
        assert_eq!((limit.report_at(), limit.take_reports().len()), (None, 0));
        while limit.allows(Unexpected, None, now) {}
        assert_eq!(
            limit.take_reports(),
            ["1 more lines about unexpected messages of the server suppressed"]
        );
    }
}
