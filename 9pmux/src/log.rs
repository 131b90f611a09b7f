//! What is said on standard error: a line each, that begins with the program's name, and with the time
//! since it began where that is of use.

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

/// Has it said as much as was asked for.
pub fn begin(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::OFF,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    let line = Line { began: (verbose > 0).then(Instant::now) };
    tracing_subscriber::fmt().with_writer(|| Deaf).with_max_level(level).event_format(line).init();
}

/// Standard error, of which nobody is told that nobody reads it: it would be told there, by a panic.
struct Deaf;

impl Write for Deaf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says why it ends, whatever was asked for.
pub fn last(why: &dyn Display) {
    let _ = Deaf.write_all(format!("9pmux: {why}\n").as_bytes());
}
