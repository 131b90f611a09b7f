//! The messages of clients and server, as lines of the log.

use tracing::{debug, warn};

use crate::engine::{TraceEvent, Tracer};
use crate::wire::{self, Dialect};

/// Returns a tracer that logs unexpected messages, and each message if `messages` is true.
pub fn tracer(messages: bool) -> Tracer {
    Box::new(move |dialect, seen| match seen {
        TraceEvent::Garbled(id) => {
            warn!("closing client {}: invalid message size", id.index());
        }
        TraceEvent::Dropped(message) => {
            warn!("unexpected reply from the server, ignored: {}", wire::show(dialect, message));
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
        TraceEvent::Dropped(_) | TraceEvent::Garbled(_) => {}
    }
}
