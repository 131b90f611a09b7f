//! The log: lines on standard error that begin with the name of the program. With `-v` the time since the
//! start follows, in seconds. Logging never blocks; `log_queue.rs` says how.

use std::fmt::{self, Display};
use std::io::{self, Write, stderr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::log_queue::{self, LogQueue};

/// Maximum time at the end for writing the lines that are still queued.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

static QUEUE: LogQueue = LogQueue::new();

/// The level of a log that has been started.
static LEVEL: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// The name of the program, if it is another than 9pmux.
static NAME: OnceLock<String> = OnceLock::new();

/// Sets the name with which lines begin, once.
pub fn set_name(name: String) {
    let _ = NAME.set(name);
}

fn name() -> &'static str {
    NAME.get().map_or("9pmux", String::as_str)
}

struct Line {
    began: Option<Instant>,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "{}: ", name())?;
        if let Some(began) = self.began {
            write!(writer, "{:.6} ", began.elapsed().as_secs_f64())?;
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Starts the log at the level that the options ask for.
///
/// # Errors
/// Returns the error if the thread that writes the lines cannot be started.
pub fn init(verbose: u8, quiet: bool) -> io::Result<()> {
    let level = if quiet { LevelFilter::OFF } else { level(verbose) };
    log_queue::start_writer(&QUEUE)?;
    let line = Line { began: (verbose > 0).then(Instant::now) };
    let (filter, handle) = reload::Layer::new(level);
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Queued).event_format(line);
    tracing_subscriber::registry().with(filter).with(lines).init();
    let _ = LEVEL.set(handle);
    Ok(())
}

/// Returns the level of the log with so many `-v`.
fn level(verbose: u8) -> LevelFilter {
    match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    }
}

/// Changes the level of a log that has been started to that of so many `-v`.
pub fn set_verbosity(verbose: u8) {
    if let Some(handle) = LEVEL.get() {
        // The log lives as long as the program.
        let _ = handle.reload(level(verbose));
    }
}

/// Waits until the lines of the log have been written, for a bounded time.
pub fn flush() {
    QUEUE.flush(FLUSH_TIMEOUT);
}

/// The log as a writer, to which the subscriber passes each line as a whole.
struct Queued;

impl Write for Queued {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        QUEUE.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs the error that ends the program, at every log level. The log must have been started.
pub fn error(error: &dyn Display) {
    QUEUE.push_last(format!("{}: {error}\n", name()).as_bytes());
}

/// Prints an error directly, without the log.
pub fn print_error(error: &dyn Display) {
    let _ = writeln!(stderr(), "{}: {error}", name());
}
