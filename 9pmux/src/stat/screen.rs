//! The live table as a screen: two lines of totals, the clients, and a line for keys or a question.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};

use super::rates::{ClientRates, Order, Rates};

/// The keys, for the last line.
const KEYS: &str = "q ends  arrows move  s order  d drops";

/// The contents of the screen.
pub struct View<'a> {
    pub rates: &'a Rates,
    pub order: Order,
    /// The index of the marked client.
    pub marked: usize,
    /// A question, or the result of a command, in place of the keys.
    pub notice: &'a str,
}

/// Returns a number of bytes with three digits and a unit.
fn bytes(number: u64) -> String {
    scaled(number, &["", "K", "M", "G", "T", "P", "E"], 1000.0)
}

/// Returns a number with a unit, each of which is so much more than the one before.
fn scaled(number: u64, units: &[&str], step: f64) -> String {
    let (mut scaled, mut unit) = (number as f64, 0);
    // Beyond this it would be rounded to the next unit.
    while scaled >= step - 0.5 && unit + 1 < units.len() {
        scaled /= step;
        unit += 1;
    }
    match unit {
        0 => format!("{number}{}", units[0]),
        _ if scaled < 9.95 => format!("{scaled:.1}{}", units[unit]),
        _ => format!("{scaled:.0}{}", units[unit]),
    }
}

/// Returns the bound of a latency, or `-` if there is none.
fn latency(microseconds: Option<u64>) -> String {
    match microseconds {
        None => "-".to_owned(),
        Some(u64::MAX) => "over 67 s".to_owned(),
        Some(microseconds) => format!("<{}", scaled(microseconds, &[" us", " ms", " s"], 1000.0)),
    }
}

/// Returns a time in its two largest units.
fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Returns the two lines of totals.
fn totals(rates: &Rates) -> Vec<Line<'static>> {
    let Rates { program, server, state, dialect, clients, fids, in_flight, .. } = rates;
    let returns = match rates.reconnects {
        0 => String::new(),
        1 => ", back once".to_owned(),
        n => format!(", back {n} times"),
    };
    let since = time(rates.since);
    let server = format!("{server} {state} {since} ({dialect}{returns})");
    let gauges = format!("clients {clients}  fids {fids}  in flight {in_flight}");
    let requests = format!(
        "req/s {}   in {}B/s  out {}B/s   p50 {}  p99 {}   refused {}/s",
        rates.requests,
        bytes(rates.bytes_in),
        bytes(rates.bytes_out),
        latency(rates.median),
        latency(rates.percentile_99),
        rates.refused
    );
    vec![
        Line::from(format!("{program} up {}  {server}  {gauges}", time(rates.up))),
        Line::from(requests),
    ]
}

fn row(client: &ClientRates) -> Row<'static> {
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    Row::new([
        right(client.id.clone()),
        Cell::from(client.user.clone()),
        Cell::from(client.from.clone()),
        right(client.requests.to_string()),
        right(bytes(client.bytes_in)),
        right(bytes(client.bytes_out)),
        right(client.fids.to_string()),
        right(client.flight.to_string()),
        right(bytes(client.out)),
        Cell::from(client.state.clone()),
    ])
}

/// Draws the screen.
pub fn draw(frame: &mut Frame<'_>, view: &View<'_>) {
    let areas =
        Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)])
            .split(frame.area());
    frame.render_widget(Paragraph::new(totals(view.rates)), areas[0]);
    let right = |text: &'static str| Cell::from(Line::from(text).right_aligned());
    let header = Row::new([
        right("ID"),
        Cell::from("USER"),
        Cell::from("FROM"),
        right("REQ/S"),
        right("IN/S"),
        right("OUT/S"),
        right("FIDS"),
        right("FLIGHT"),
        right("OUT"),
        Cell::from("STATE"),
    ]);
    let widths = [
        Constraint::Length(5),
        Constraint::Length(8),
        Constraint::Min(8),
        Constraint::Length(7),
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(5),
        Constraint::Length(7),
    ];
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    let table = Table::new(view.rates.rows.iter().map(row), widths)
        .header(header.style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(reversed);
    let marked = Some(view.marked).filter(|_| !view.rates.rows.is_empty());
    let mut state = TableState::new().with_selected(marked);
    frame.render_stateful_widget(table, areas[1], &mut state);
    let last = match view.notice {
        "" => format!("{KEYS}  (by {})", view.order.name()),
        notice => notice.to_owned(),
    };
    frame.render_widget(Paragraph::new(last), areas[2]);
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{Snapshot, Table as Words, parse_stats};
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    /// Returns a snapshot after so many turns of a second, in which two clients were busy.
    fn snapshot(seconds: u64) -> Snapshot {
        let line = |number: &str, user: &str, speed: u64, state: &str| {
            let (messages, sent, received) =
                (speed * seconds, 55 * speed * seconds, 4900 * speed * seconds);
            format!(
                "{number} unix!/run/9p/store {user} 812 4 {messages} {sent} {received} 0 {state}\n"
            )
        };
        let clients = [
            "id from user fids flight in_msgs in_bytes out_bytes out state\n".to_owned(),
            line("0", "ann", 20_120, "active"),
            line("7", "-", 0, "idle"),
            line("12", "bob", 30_000, "slow"),
        ]
        .concat();
        let stats = format!(
            "clients 3\nfids 18203\nin_flight 37\nrequests_total {}\nbytes_from_clients_total {}\n\
             bytes_to_clients_total {}\nrefused_total {}\nreconnects_total 2\n",
            50_120 * seconds,
            2_756_600 * seconds,
            245_588_000 * seconds,
            3 * seconds
        );
        let latency = format!(
            "type count sum_us lt_128 lt_256 lt_2048 more\nTread 0 0 {} {} {} 0\n",
            10 * seconds,
            85 * seconds,
            5 * seconds
        );
        Snapshot {
            version: format!("9pmux 1.2.3 pid 4711 up {}", 97_200 + seconds),
            stats: parse_stats(&stats),
            upstream: Words::parse(
                "address state since dialect\ntcp!store!564 ready 3700 9P2000.L\n",
            ),
            clients: Words::parse(&clients),
            latency: Words::parse(&latency),
        }
    }

    fn screen(width: u16, height: u16, marked: usize, notice: &str) -> Vec<String> {
        let elapsed = Duration::from_secs(2);
        let rates = Rates::between(&snapshot(1), &snapshot(3), elapsed, Order::Requests);
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let view = View { rates: &rates, order: Order::Requests, marked, notice };
        terminal.draw(|frame| draw(frame, &view)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| line(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn wide_screen_has_totals_and_clients_by_requests() {
        assert_eq!(
            screen(118, 8, 0, ""),
            [
                "9pmux 1.2.3 up 1d 3h  tcp!store!564 ready 1h 1m (9P2000.L, back 2 times)  clients 3  fids 18203  in flight 37",
                "req/s 50120   in 2.8MB/s  out 246MB/s   p50 <256 us  p99 <2.0 ms   refused 3/s",
                "   ID USER     FROM                                                      REQ/S  IN/S OUT/S   FIDS FLIGHT   OUT STATE",
                "   12 bob      unix!/run/9p/store                                        30000  1.6M  147M    812      4     0 slow",
                "    0 ann      unix!/run/9p/store                                        20120  1.1M   99M    812      4     0 active",
                "    7 -        unix!/run/9p/store                                            0     0     0    812      4     0 idle",
                "",
                "q ends  arrows move  s order  d drops  (by req)",
            ]
        );
    }

    #[test]
    fn small_screens_show_what_fits() {
        let lines = screen(80, 24, 0, "drop client 12 (ann)? y");
        assert_eq!(lines.len(), 24);
        assert_eq!(
            lines[3],
            "   12 bob      unix!/run/9p/stor   30000  1.6M  147M    812      4     0 slow"
        );
        assert_eq!(lines[23], "drop client 12 (ann)? y");
        let lines = screen(40, 10, 2, "");
        assert_eq!(lines.len(), 10);
        assert!(lines[0].starts_with("9pmux 1.2.3 up 1d 3h  tcp!store!564"), "{lines:?}");
        assert!(lines[5].contains('7'), "{lines:?}");
        // No size is too small.
        for (width, height) in [(1, 1), (2, 3), (200, 1)] {
            screen(width, height, 0, "");
        }
    }

    #[test]
    fn numbers_have_three_digits() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0K"),
            (9_949, "9.9K"),
            (9_951, "10K"),
            (999_499, "999K"),
            (999_500, "1.0M"),
            (1_234_567_890, "1.2G"),
            (u64::MAX, "18E"),
        ] {
            assert_eq!(bytes(number), shown);
        }
        assert_eq!(latency(Some(128)), "<128 us");
        assert_eq!(latency(Some(2048)), "<2.0 ms");
        assert_eq!(latency(Some(u64::MAX)), "over 67 s");
        assert_eq!(latency(None), "-");
        assert_eq!(time(Duration::from_secs(59)), "59s");
        assert_eq!(time(Duration::from_secs(3599)), "59m 59s");
        assert_eq!(time(Duration::from_secs(86_399)), "23h 59m");
    }
}
