//! The messages of clients and server, as lines of the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::{debug, info, warn};

use super::line_limit::{LineKind, LineLimit};
use crate::engine::{ClientId, TraceEvent, Tracer};
use crate::wire::{self, Dialect};

/// The names of the two sides of an engine in the log.
#[derive(Clone, Copy)]
pub enum Names {
    /// Clients and their server.
    Serve,
    /// Local clients of a link, and the other end as their server.
    Post,
    /// The other end of a link as a client, and the exported server.
    Export,
}

/// All messages of the stream have this name: requests of one direction and replies of the other.
const FAR_END: &str = "other end";

impl Names {
    fn client(self, id: ClientId) -> String {
        match self {
            Names::Serve | Names::Post => format!("client {}", id.number()),
            Names::Export => FAR_END.to_owned(),
        }
    }

    fn server(self) -> &'static str {
        match self {
            Names::Serve => "server",
            Names::Post => FAR_END,
            Names::Export => "exported server",
        }
    }

    /// The number under which lines about this client are limited, if it has one.
    fn number(self, id: ClientId) -> Option<usize> {
        match self {
            Names::Serve | Names::Post => Some(id.index()),
            Names::Export => None,
        }
    }
}

/// Returns a tracer that logs unexpected messages within the limit, and each message if `messages` is true.
pub fn tracer(names: Names, messages: bool, limit: Arc<Mutex<LineLimit>>) -> Tracer {
    let allows = move |kind, client| {
        let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
        limit.allows(kind, client, Instant::now())
    };
    let server = names.server();
    Box::new(move |dialect, seen| match seen {
        // The end of a link has a line of its own.
        TraceEvent::Garbled(..) if matches!(names, Names::Export) => {}
        TraceEvent::Garbled(id, bytes) if allows(LineKind::Closed, names.number(id)) => {
            match wire::foreign(bytes) {
                Some(other) => warn!("closing {}: not 9P but {other}", names.client(id)),
                None => warn!("closing {}: invalid message size", names.client(id)),
            }
        }
        TraceEvent::Refused(id, message, why) if allows(LineKind::Refused, names.number(id)) => {
            info!("{} refused: {why}: {}", names.client(id), wire::show(dialect, message));
        }
        TraceEvent::Dropped(message) if allows(LineKind::Unexpected, None) => {
            let message = wire::show(dialect, message);
            warn!("unexpected reply from the {server}, ignored: {message}");
        }
        TraceEvent::Unexpected(message) if allows(LineKind::Unexpected, None) => {
            let message = wire::show(dialect, message);
            warn!("unexpected reply from the {server}, an error for its request: {message}");
        }
        seen if messages => log_message(names, dialect, seen),
        _ => {}
    })
}

fn log_message(names: Names, dialect: Dialect, seen: TraceEvent<'_>) {
    let show = |message| wire::show(dialect, message);
    match seen {
        TraceEvent::FromClient(id, m) => debug!("{} -> {}", names.client(id), show(m)),
        TraceEvent::ToClient(id, m) => debug!("{} <- {}", names.client(id), show(m)),
        TraceEvent::ToServer(m) => debug!("{} <- {}", names.server(), show(m)),
        TraceEvent::FromServer(m) => debug!("{} -> {}", names.server(), show(m)),
        TraceEvent::Refused(..)
        | TraceEvent::Dropped(_)
        | TraceEvent::Unexpected(_)
        | TraceEvent::Garbled(..) => {}
    }
}
