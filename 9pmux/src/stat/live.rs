//! The live table: keys, signals, and the terminal, which is restored at every end.
//!
//! | end | the terminal is restored by |
//! |---|---|
//! | `q`, Ctrl-C, SIGTERM, SIGHUP, a lost connection, an error of the terminal | the end of [`show`] |
//! | a panic | the hook that `ratatui` sets before, since a panic aborts |

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::DefaultTerminal;

use super::StatFailure;
use super::rates::{Order, Rates};
use super::screen::{View, draw};
use super::session::Session;
use super::snapshot::Snapshot;

/// The maximum time for which a signal is not noticed.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// The signals that end the table.
const SIGNALS: [i32; 3] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT];

/// Whether the table goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    End,
}

/// The state of the table.
struct Live {
    rates: Rates,
    order: Order,
    marked: usize,
    notice: String,
    /// The number of the client that the user is asked about.
    asked: Option<String>,
}

/// Shows the table until a key or a signal ends it.
pub fn show(session: &mut Session, interval: Duration, order: Order) -> Result<(), StatFailure> {
    let ends = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        signal_hook::flag::register(signal, ends.clone()).map_err(StatFailure::Terminal)?;
    }
    // The first snapshot is read before the terminal changes, so that an error is a plain line.
    let first = Snapshot::read(session)?;
    let mut terminal = ratatui::try_init().map_err(StatFailure::Terminal)?;
    let shown = run(&mut terminal, session, first, interval, order, &ends);
    let restored = ratatui::try_restore().map_err(StatFailure::Terminal);
    shown.and(restored)
}

fn run(
    terminal: &mut DefaultTerminal,
    session: &mut Session,
    first: Snapshot,
    interval: Duration,
    order: Order,
    ends: &AtomicBool,
) -> Result<(), StatFailure> {
    let (mut before, mut read_at) = (first, Instant::now());
    let rates = Rates::between(&before, &before, interval, order);
    let mut live = Live { rates, order, marked: 0, notice: String::new(), asked: None };
    loop {
        live.draw(terminal).map_err(StatFailure::Terminal)?;
        let due = read_at + interval;
        while Instant::now() < due {
            if ends.load(Ordering::Relaxed) {
                return Ok(());
            }
            let left = due.saturating_duration_since(Instant::now()).min(SIGNAL_INTERVAL);
            if !event::poll(left).map_err(StatFailure::Terminal)? {
                continue;
            }
            match event::read().map_err(StatFailure::Terminal)? {
                Event::Key(key) if live.press(key, session)? == Next::End => return Ok(()),
                _ => live.draw(terminal).map_err(StatFailure::Terminal)?,
            }
        }
        let after = Snapshot::read(session)?;
        let now = Instant::now();
        live.update(Rates::between(&before, &after, now - read_at, live.order));
        (before, read_at) = (after, now);
    }
}

impl Live {
    fn draw(&self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        let Live { rates, order, marked, notice, .. } = self;
        let view = View { rates, order: *order, marked: *marked, notice };
        terminal.draw(|frame| draw(frame, &view)).map(drop)
    }

    /// Shows further rates. The mark stays at its client if that is still there.
    fn update(&mut self, rates: Rates) {
        let marked = self.rates.rows.get(self.marked).map(|row| row.id.clone());
        let found = rates.rows.iter().position(|row| Some(&row.id) == marked.as_ref());
        self.marked = found.unwrap_or(self.marked).min(rates.rows.len().saturating_sub(1));
        self.rates = rates;
    }

    fn press(&mut self, key: KeyEvent, session: &mut Session) -> Result<Next, StatFailure> {
        if key.kind == KeyEventKind::Release {
            return Ok(Next::Continue);
        }
        self.notice.clear();
        if let Some(id) = self.asked.take() {
            if key.code == KeyCode::Char('y') {
                let refused = session.command(&format!("drop {id}"))?;
                self.notice = refused.unwrap_or_else(|| format!("client {id} is disconnected"));
            }
            return Ok(Next::Continue);
        }
        let last = self.rates.rows.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') => return Ok(Next::End),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Ok(Next::End);
            }
            KeyCode::Up => self.marked = self.marked.saturating_sub(1),
            KeyCode::Down => self.marked = (self.marked + 1).min(last),
            KeyCode::Char('s') => self.order = self.order.next(),
            KeyCode::Char('d') => {
                if let Some(row) = self.rates.rows.get(self.marked) {
                    self.notice = format!("drop client {} ({})? y", row.id, row.user);
                    self.asked = Some(row.id.clone());
                }
            }
            _ => {}
        }
        Ok(Next::Continue)
    }
}
