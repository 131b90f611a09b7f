//! The live table: keys, signals, and the terminal, which is restored at every end.
//!
//! | end | the terminal is restored by |
//! |---|---|
//! | `q`, Ctrl-C, SIGTERM, SIGHUP, a lost connection, an error of the terminal | the end of [`show`] |
//! | a panic | the hook that `ratatui` sets before: a panic aborts, so no destructor runs |

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
    let shown = on_terminal(|terminal| {
        let is_ended = ends.clone();
        session.end_if(move || is_ended.load(Ordering::Relaxed) || is_end_pressed());
        run(terminal, session, first, interval, order, &ends)
    });
    match shown {
        Err(StatFailure::Ended) => Ok(()),
        shown => shown,
    }
}

/// Calls `show` with the screen of the terminal, which is as before afterwards, and also if `show` panics.
fn on_terminal(
    show: impl FnOnce(&mut DefaultTerminal) -> Result<(), StatFailure>,
) -> Result<(), StatFailure> {
    let mut terminal = ratatui::try_init().map_err(StatFailure::Terminal)?;
    let shown = show(&mut terminal);
    let restored = ratatui::try_restore().map_err(StatFailure::Terminal);
    shown.and(restored)
}

/// Returns true if the user has pressed a key that ends the table while a reply is awaited. Other keys are ignored then.
fn is_end_pressed() -> bool {
    while event::poll(Duration::ZERO).unwrap_or(false) {
        match event::read() {
            Ok(Event::Key(key)) if is_end(key) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// Returns true for the keys that end the table.
fn is_end(key: KeyEvent) -> bool {
    let is_interrupt =
        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release && (key.code == KeyCode::Char('q') || is_interrupt)
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
            if key.code == KeyCode::Char('c') && is_end(key) {
                return Ok(Next::End);
            }
            if key.code == KeyCode::Char('y') {
                let refused = session.command(&format!("drop {id}"))?;
                self.notice = refused.unwrap_or_else(|| format!("client {id} is disconnected"));
            }
            return Ok(Next::Continue);
        }
        let last = self.rates.rows.len().saturating_sub(1);
        if is_end(key) {
            return Ok(Next::End);
        }
        match key.code {
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio};
    use std::{env, panic, process, thread};

    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::tcgetattr;

    use super::on_terminal;

    #[test]
    #[ignore = "a part of terminal_is_restored_after_a_panic, on a terminal of its own"]
    fn panics_on_its_terminal() {
        if env::var_os("ON_TERMINAL").is_none() {
            return;
        }
        let _ = on_terminal(|_| {
            // The release profile aborts after the hook.
            let hook = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                hook(info);
                process::abort();
            }));
            panic!("a fault");
        });
    }

    #[test]
    fn terminal_is_restored_after_a_panic() {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        let before = tcgetattr(&theirs).unwrap();
        let mut command = Command::new(env::current_exe().unwrap());
        let test = "stat::live::tests::panics_on_its_terminal";
        command.args(["--exact", test, "--ignored", "--nocapture"]).env("ON_TERMINAL", "1");
        let copy = || Stdio::from(theirs.try_clone().unwrap());
        let mut child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
        // The copies for the child.
        drop(command);
        let reader = thread::spawn(move || {
            let (mut said, mut ours) = (Vec::new(), File::from(ours));
            // The end of a terminal is an error.
            let _ = ours.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        assert!(!child.wait().unwrap().success());
        let after = tcgetattr(&theirs).unwrap();
        drop(theirs);
        let said = reader.join().unwrap();
        let (before_panic, rest) = said.split_once("\x1b[?1049h").expect("the screen is entered");
        assert!(!before_panic.contains("a fault"), "{said:?}");
        let (screen, rest) = rest.split_once("\x1b[?1049l").expect("the screen is left");
        assert!(!screen.contains("a fault") && rest.contains("a fault"), "{said:?}");
        assert_eq!(after.local_modes, before.local_modes, "the mode of the terminal");
        assert_eq!(after.input_modes, before.input_modes);
    }
}
