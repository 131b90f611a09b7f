//! The log: lines on standard error that begin with the name of the program. With `-v` the time since the
//! start follows, in seconds.

use std::fmt::{self, Display};
use std::io::{self, Write, stderr};
use std::time::Instant;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

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
        write!(writer, "9pmux: ")?;
        if let Some(began) = self.began {
            write!(writer, "{:.6} ", began.elapsed().as_secs_f64())?;
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Starts the log at the level that the options ask for.
pub fn init(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::OFF,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    let line = Line { began: (verbose > 0).then(Instant::now) };
    tracing_subscriber::fmt()
        .with_writer(|| IgnoreErrors)
        .with_max_level(level)
        .event_format(line)
        .init();
}

/// Standard error without write errors: the subscriber would report them on standard error, and panic.
struct IgnoreErrors;

impl Write for IgnoreErrors {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints the error that ends the program, at every log level.
pub fn print_error(error: &dyn Display) {
    let _ = IgnoreErrors.write_all(format!("9pmux: {error}\n").as_bytes());
}
