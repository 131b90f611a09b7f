//! Notifications to a service manager (sd_notify(3)): 9pmux is ready, what it does, that it is alive, and that it ends.
//!
//! Each is one datagram to the socket that `NOTIFY_SOCKET` names. The socket does not block, since a service manager that
//! is busy must not stop the event loop: a notification for which there is no room is dropped.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::info;

use super::failure::error_text;

/// The way to a service manager, if one asks for notifications.
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// The address that is served, for the status.
    address: String,
    is_ready: bool,
    is_stopping: bool,
    /// The server is away.
    away: Option<Away>,
    /// The number of times that it has come back.
    returns: u64,
    /// The time between two signs of life, and the time of the next one.
    watchdog: Option<(Duration, Instant)>,
}

/// The time without the server.
struct Away {
    since: SystemTime,
    attempts: u64,
}

impl Notifier {
    /// Returns the notifier of a process that has no service manager.
    pub fn none() -> Notifier {
        Notifier {
            socket: None,
            address: String::new(),
            is_ready: false,
            is_stopping: false,
            away: None,
            returns: 0,
            watchdog: None,
        }
    }

    /// Returns a notifier to the service manager that the environment names. `address` is what is served.
    pub fn from_environment(address: &impl Display, now: Instant) -> Notifier {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let Some(name) = variable("NOTIFY_SOCKET") else {
            return Notifier::none();
        };
        let socket = match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                log_failure(&error);
                None
            }
        };
        let interval = watchdog_interval(std::process::id(), variable);
        let watchdog = interval.filter(|_| socket.is_some()).map(|interval| (interval, now));
        Notifier { socket, address: address.to_string(), watchdog, ..Notifier::none() }
    }

    /// Clients can connect, and the server has been reached, unless it may be away.
    pub fn ready(&mut self) {
        if !std::mem::replace(&mut self.is_ready, true) {
            self.send(&format!("READY=1\nSTATUS={}", self.status()));
        }
    }

    /// The server has been lost.
    pub fn lost(&mut self) {
        self.away.get_or_insert(Away { since: SystemTime::now(), attempts: 0 });
        self.send_status();
    }

    /// An attempt to connect to the server has failed.
    pub fn failed(&mut self) {
        let away = self.away.get_or_insert(Away { since: SystemTime::now(), attempts: 0 });
        away.attempts += 1;
        self.send_status();
    }

    /// The server is there again.
    pub fn returned(&mut self) {
        if self.away.take().is_some() {
            self.returns += 1;
            self.send_status();
        }
    }

    /// 9pmux begins to end.
    pub fn stopping(&mut self) {
        if !std::mem::replace(&mut self.is_stopping, true) {
            self.send("STOPPING=1");
        }
    }

    /// Sends a sign of life if one is due.
    pub fn tick(&mut self, now: Instant) {
        let Some((interval, due)) = &mut self.watchdog else {
            return;
        };
        if *due <= now {
            *due = now + *interval;
            self.send("WATCHDOG=1");
        }
    }

    /// Returns the time at which `tick` must be called, if any.
    pub fn deadline(&self) -> Option<Instant> {
        self.watchdog.map(|(_, due)| due)
    }

    fn send_status(&self) {
        if self.is_ready && !self.is_stopping {
            self.send(&format!("STATUS={}", self.status()));
        }
    }

    fn status(&self) -> String {
        let address = &self.address;
        match &self.away {
            Some(Away { since, attempts: 0 }) => format!("{address} is away since {}", Utc(*since)),
            Some(Away { since, attempts }) => {
                format!("{address} is away since {}, try {attempts}", Utc(*since))
            }
            None if self.returns > 0 => format!("serving {address}, back {} times", self.returns),
            None => format!("serving {address}"),
        }
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send(message.as_bytes()) {
            log_failure(&error);
        }
    }
}

fn log_failure(error: &io::Error) {
    info!("the service manager cannot be notified: {}", error_text(error));
}

/// Connects to the socket with this name: a path, or an abstract name behind `@`.
fn connect(name: &OsString) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        if let Some(name) = name.as_bytes().strip_prefix(b"@") {
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.connect_addr(&address)?;
            return Ok(socket);
        }
    }
    socket.connect(name)?;
    Ok(socket)
}

/// Returns the time between two signs of life, half of what the service manager allows, if it expects any from the
/// process `pid`.
fn watchdog_interval(pid: u32, variable: impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name: &str| variable(name)?.into_string().ok()?.parse::<u64>().ok();
    let is_ours = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(pid.into());
    let allowed = number("WATCHDOG_USEC").filter(|usec| *usec > 0 && is_ours)?;
    Some(Duration::from_micros(allowed / 2).max(Duration::from_millis(1)))
}

/// A time of the calendar, as `2026-11-29 15:10:00 UTC`.
struct Utc(SystemTime);

impl Display for Utc {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let (mut days, time) = (seconds / 86_400, seconds % 86_400);
        let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let mut year = 1970;
        while days >= 365 + u64::from(is_leap(year)) {
            days -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        let february = 28 + u64::from(is_leap(year));
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        write!(f, "{year}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC", days + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifier() -> (UnixDatagram, Notifier) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).unwrap();
        }
        let (socket, address) = (Some(ours), "tcp!store!564".to_owned());
        (theirs, Notifier { socket, address, ..Notifier::none() })
    }

    fn received(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 1000];
        let receive = || socket.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec());
        std::iter::from_fn(receive).map(|text| String::from_utf8(text).unwrap()).collect()
    }

    #[test]
    fn states_of_the_server_are_reported() {
        let (manager, mut notifier) = notifier();
        notifier.failed();
        assert!(received(&manager).is_empty(), "before it is ready");
        notifier.away = None;
        notifier.ready();
        notifier.ready();
        assert_eq!(received(&manager), ["READY=1\nSTATUS=serving tcp!store!564"]);
        for n in 1..3 {
            notifier.lost();
            notifier.failed();
            notifier.failed();
            notifier.returned();
            notifier.returned();
            let said = received(&manager);
            assert_eq!(said.len(), 4, "{said:?}");
            let away = "STATUS=tcp!store!564 is away since 20";
            assert!(said[0].starts_with(away) && said[0].ends_with(" UTC"), "{said:?}");
            assert!(said[2].starts_with(away) && said[2].ends_with(" UTC, try 2"), "{said:?}");
            assert_eq!(said[3], format!("STATUS=serving tcp!store!564, back {n} times"));
        }
        notifier.stopping();
        notifier.stopping();
        notifier.lost();
        assert_eq!(received(&manager), ["STOPPING=1"]);
    }

    #[test]
    fn signs_of_life_are_sent_in_time() {
        let (manager, mut notifier) = notifier();
        let start = Instant::now();
        notifier.watchdog = Some((Duration::from_secs(5), start));
        for seconds in [0, 4, 5, 9, 10, 30] {
            let now = start + Duration::from_secs(seconds);
            notifier.tick(now);
            assert!(notifier.deadline().unwrap() > now);
        }
        assert_eq!(received(&manager), ["WATCHDOG=1"; 4]);
        let interval = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|it| it.0 == name).map(|it| it.1.into());
            watchdog_interval(7, find)
        };
        let usec = ("WATCHDOG_USEC", "3000000");
        let expected = Some(Duration::from_millis(1500));
        assert_eq!(interval(&[usec]), expected);
        assert_eq!(interval(&[usec, ("WATCHDOG_PID", "7")]), expected);
        assert_eq!(interval(&[usec, ("WATCHDOG_PID", "8")]), None);
        assert_eq!(interval(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(interval(&[]), None);
    }

    #[test]
    fn full_or_closed_socket_does_not_block() {
        let (manager, mut notifier) = notifier();
        notifier.ready();
        for _ in 0..10_000 {
            notifier.lost();
        }
        drop(manager);
        notifier.stopping();
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_798_761_599, "2026-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(Utc(time).to_string(), text);
        }
    }
}
