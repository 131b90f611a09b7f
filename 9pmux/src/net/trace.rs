//! The messages of clients and server, as lines of the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::{debug, info, warn};

use super::line_limit::{LineKind, LineLimit};
use crate::engine::{TraceEvent, Tracer};
use crate::wire::{self, Dialect};

/// Returns a tracer that logs unexpected messages within the limit, and each message if `messages` is true.
pub fn tracer(messages: bool, limit: Arc<Mutex<LineLimit>>) -> Tracer {
    let allows = move |kind, client| {
        let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
        limit.allows(kind, client, Instant::now())
    };
    Box::new(move |dialect, seen| match seen {
        TraceEvent::Garbled(id, bytes) if allows(LineKind::Closed, Some(id.index())) => {
            match wire::foreign(bytes) {
                Some(other) => warn!("closing client {}: not 9P but {other}", id.index()),
                None => warn!("closing client {}: invalid message size", id.index()),
            }
        }
        TraceEvent::Refused(id, message, why) if allows(LineKind::Refused, Some(id.index())) => {
            info!("client {} refused: {why}: {}", id.index(), wire::show(dialect, message));
        }
        TraceEvent::Dropped(message) if allows(LineKind::Unexpected, None) => {
            let message = wire::show(dialect, message);
            warn!("unexpected reply from the server, ignored: {message}");
        }
        TraceEvent::Unexpected(message) if allows(LineKind::Unexpected, None) => {
            let message = wire::show(dialect, message);
            warn!("unexpected reply from the server, an error for its request: {message}");
        }
        seen if messages => log_message(dialect, seen),
        _ => {}
    })
}

fn log_message(dialect: Dialect, seen: TraceEvent<'_>) {
    match seen {
        TraceEvent::FromClient(id, m) => {
            debug!("client {} -> {}", id.index(), wire::show(dialect, m))
        }
        TraceEvent::ToClient(id, m) => {
            debug!("client {} <- {}", id.index(), wire::show(dialect, m))
        }
        TraceEvent::ToServer(m) => debug!("server <- {}", wire::show(dialect, m)),
        TraceEvent::FromServer(m) => debug!("server -> {}", wire::show(dialect, m)),
        TraceEvent::Refused(..)
        | TraceEvent::Dropped(_)
        | TraceEvent::Unexpected(_)
        | TraceEvent::Garbled(..) => {}
    }
}
