//! The configuration of a link, and of its two engines.

use std::time::Duration;

use super::MAX_REQUESTS;
use crate::engine::{Config, ServerKind};

/// The configuration of a link.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// The window: the maximum bytes outstanding towards the other end, requests and the room for replies.
    pub window: usize,
    /// The silence after which a keepalive is sent, if any is.
    pub keepalive: Option<Duration>,
}

impl LinkConfig {
    /// Returns the configuration of the export, from that of its server. The limits of one client become those
    /// of the other end, which stands for all its clients.
    #[must_use]
    pub fn export(&self, config: Config, has_server: bool) -> Config {
        Config {
            server: match config.reconnect {
                _ if !has_server => ServerKind::Absent,
                Some(_) => ServerKind::Connected,
                None => ServerKind::OnDemand,
            },
            reconnect: config.reconnect.filter(|_| has_server),
            can_redial: has_server,
            max_inflight: 2 * MAX_REQUESTS,
            max_reply_bytes: 2 * self.window,
            max_fids: config.max_fids_all,
            max_memory: config.max_memory.max(16 * self.window),
            // A descriptor cannot cross a stream.
            max_descriptors: 0,
            max_spare_bytes: self.max_spare_bytes(&config),
            window: None,
            // The other end is one client, so what waited would wait in the order in which the server takes it.
            adapts: false,
            ..config
        }
    }

    /// Returns the configuration of the post.
    #[must_use]
    pub fn post(&self, config: Config) -> Config {
        Config {
            server: ServerKind::FarEnd,
            can_redial: false,
            max_inflight_all: config.max_inflight_all.min(MAX_REQUESTS),
            // The latency is that of the line and of the exported server.
            adapts: true,
            max_descriptors: 0,
            max_spare_bytes: self.max_spare_bytes(&config),
            window: Some(self.window),
            ..config
        }
    }

    /// Returns the maximum memory of empty buffers that each engine keeps: a small part of the memory that the
    /// window permits it to use.
    fn max_spare_bytes(&self, config: &Config) -> usize {
        config.max_spare_bytes.min(self.window / 4)
    }
}
