//! `9pmux stat`: reads the control tree of a running 9pmux, and shows it.
//!
//! There is one thread and one connection, owned by the session. Requests are sent one at a time, so a snapshot is a few
//! files, each as it was when it was opened. If that 9pmux ends, does not reply in time, or disconnects this client,
//! `stat` ends with an error; it does not connect again.
//!
//! | file | content |
//! |---|---|
//! | `session.rs` | a session with the control tree: one request at a time |
//! | `snapshot.rs` | the texts of the files, parsed |
//! | `report.rs` | a report in columns, and as JSON |
//! | `rates.rs` | the differences of two snapshots |
//! | `screen.rs` | the live table as a screen |
//! | `live.rs` | the live table: keys, signals and the terminal |
//! | `failure.rs` | the errors that end it, with their exit statuses |

mod failure;
mod live;
mod rates;
mod report;
mod screen;
mod session;
mod snapshot;

use std::io::{self, IsTerminal, Write, stdout};
use std::thread;
use std::time::Duration;

pub use failure::StatFailure;
pub use rates::Order;
use session::Session;
use snapshot::Snapshot;

use crate::net::Address;

/// The interval of the live table.
const INTERVAL: Duration = Duration::from_secs(1);

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A live table on a terminal, and otherwise columns.
    Columns,
    /// An object a report, on a line.
    Json,
    /// The file `metrics`, as it is.
    Prometheus,
}

/// The options of `9pmux stat`.
#[derive(Debug)]
pub struct StatOptions {
    /// The address on which clients of the 9pmux connect.
    pub address: Address,
    /// The form of the output.
    pub form: Form,
    /// Whether to write one report, on a terminal too.
    pub once: bool,
    /// The time between two reports, if there are several.
    pub interval: Option<Duration>,
    /// The order of the clients in the live table.
    pub order: Order,
    /// The aname of the control tree.
    pub tree: String,
}

/// Writes reports or shows the live table until there is no more to write.
///
/// # Errors
/// Returns the reason if the control tree cannot be read.
pub fn stat(options: &StatOptions) -> Result<(), StatFailure> {
    let mut session = Session::connect(&options.address, &options.tree)?;
    let is_live = options.form == Form::Columns && !options.once && stdout().is_terminal();
    if is_live {
        return live::show(&mut session, options.interval.unwrap_or(INTERVAL), options.order);
    }
    loop {
        let report = report(&mut session, options.form)?;
        match stdout().write_all(report.as_bytes()).and_then(|()| stdout().flush()) {
            // A reader that has read enough is no error.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(StatFailure::Output(error)),
            Ok(()) => {}
        }
        match options.interval.filter(|_| !options.once) {
            Some(interval) => thread::sleep(interval),
            None => return Ok(()),
        }
    }
}

fn report(session: &mut Session, form: Form) -> Result<String, StatFailure> {
    Ok(match form {
        Form::Prometheus => session.read("metrics")?,
        Form::Columns => report::columns(&Snapshot::read(session)?),
        Form::Json => report::json(&Snapshot::read(session)?),
    })
}
