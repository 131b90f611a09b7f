//! The control tree: what the driver knows for it, and the commands that clients give by it.

use std::time::{Duration, Instant};

use tracing::Level;

use super::Driver;
use crate::engine::{ClientId, ClientOrigin, ControlCommand, Engine, Facts, ServerFacts};
use crate::net::accounts;
use crate::net::line_limit::LineLimit;
use crate::net::stream::{Origin, Stream};
use crate::net::trace::{self, Names};

/// The minimum time between two reports of facts, while a client can read them and otherwise. A report costs a few
/// copies of addresses.
const INTERVAL: Duration = Duration::from_millis(50);
const IDLE_INTERVAL: Duration = Duration::from_millis(500);

/// The driver's facts for the control tree.
pub(super) struct ControlFacts {
    /// Whether callers that the system says nothing about may attach.
    allows_unknown: bool,
    /// The addresses of the listeners, and of connections that were inherited.
    pub names: Vec<String>,
    /// The index of the address of each listener.
    pub of_listener: Vec<u16>,
    pub server: ServerFacts,
    pub export: ServerFacts,
    pub refused_connections: u64,
    reported_at: Option<Instant>,
    /// Changes the level of the log.
    set_verbosity: Option<fn(u8)>,
}

impl ControlFacts {
    pub fn new(allows_unknown: bool, server: String, set_verbosity: Option<fn(u8)>) -> Self {
        ControlFacts {
            allows_unknown,
            names: Vec::new(),
            of_listener: Vec::new(),
            server: ServerFacts { address: server, ..ServerFacts::default() },
            export: ServerFacts::default(),
            refused_connections: 0,
            reported_at: None,
            set_verbosity,
        }
    }

    /// Adds the address of a listener, or of an inherited connection, and returns its index.
    pub fn add_name(&mut self, name: String) -> u16 {
        self.names.push(name);
        u16::try_from(self.names.len() - 1).unwrap_or(u16::MAX)
    }
}

/// Records that an attempt to connect to a server has failed.
pub(super) fn record_failure(facts: &mut ServerFacts, why: &impl ToString) {
    facts.tries += 1;
    facts.last_error = why.to_string();
}

/// Records that a server is connected.
pub(super) fn record_connection(facts: &mut ServerFacts) {
    facts.tries = 0;
}

/// Returns true if a process of this user may attach to the control tree: the user of 9pmux, and root. A user that the
/// system cannot name, as one of another user namespace, may not, even if 9pmux has the number that stands for it.
fn is_own(uid: u32) -> bool {
    let is_ours = || uid == rustix::process::geteuid().as_raw();
    uid == 0 || is_ours() && uid != accounts::overflow_uid()
}

impl Driver {
    /// Reports to the engine where a client comes from.
    pub(super) fn describe_client(&mut self, id: ClientId, stream: &Stream, listener: u16) {
        let may_control = match stream.origin() {
            Origin::User(uid) => is_own(uid),
            Origin::Host(_) | Origin::Machine(_) | Origin::Unknown => self.control.allows_unknown,
        };
        let caller = ClientOrigin { listener, may_control, pid: stream.process() };
        self.engine.describe_client(id, caller);
    }

    /// Reports to the engines what they do not know, at most once in a while.
    pub(super) fn report_facts(&mut self) {
        let export_is_read =
            self.link.as_mut().is_some_and(|link| link.link.export().has_control_clients());
        let is_read = export_is_read || self.engine.has_control_clients();
        let interval = if is_read { INTERVAL } else { IDLE_INTERVAL };
        if self.control.reported_at.is_some_and(|at| self.now - at < interval) {
            return;
        }
        self.control.reported_at = Some(self.now);
        let mut facts = Facts {
            listeners: self.control.names.clone(),
            server: self.control.server.clone(),
            other: None,
            refused_connections: self.control.refused_connections,
            link: None,
        };
        if let Some(link) = &mut self.link {
            facts.link = Some(link.link.counters(&self.engine));
            let other = self.engine.upstream_row(self.control.server.clone());
            let export = link.link.export();
            facts.other = Some(export.upstream_row(self.control.export.clone()));
            export.report_facts(Facts {
                listeners: vec![self.control.server.address.clone()],
                server: self.control.export.clone(),
                other: Some(other),
                ..facts.clone()
            });
        }
        self.engine.report_facts(facts);
    }

    /// Executes the commands of clients.
    pub(super) fn run_commands(&mut self) {
        while let Some(command) = self.next_command() {
            match command {
                ControlCommand::Verbose(verbosity) => self.set_verbosity(verbosity),
                ControlCommand::Reconnect if self.link.is_some() => self.server_gone(None),
                ControlCommand::Reconnect => self.leave_server(),
                ControlCommand::ReconnectExport => self.leave_export(),
            }
        }
    }

    /// Closes the connection to the server, if there is one, so that it is connected again.
    fn leave_server(&mut self) {
        if self.server.is_some() {
            self.close_server();
            self.engine.server_left();
        }
    }

    fn next_command(&mut self) -> Option<ControlCommand> {
        let of_export = |command| match command {
            ControlCommand::Reconnect => ControlCommand::ReconnectExport,
            command => command,
        };
        let next = |engine: &mut Engine| engine.next_control_command();
        next(&mut self.engine).or_else(|| {
            let link = self.link.as_mut()?;
            next(link.link.export()).map(of_export)
        })
    }

    /// Changes the level of the log, and whether the engines report messages for it.
    fn set_verbosity(&mut self, verbosity: u8) {
        let Some(set_verbosity) = self.control.set_verbosity else {
            return;
        };
        set_verbosity(verbosity);
        let limit = tracing::enabled!(Level::INFO).then(|| {
            let new = || std::sync::Arc::new(std::sync::Mutex::new(LineLimit::new(self.now)));
            self.line_limit.take().unwrap_or_else(new)
        });
        self.line_limit = limit.clone();
        let tracer =
            |names| limit.as_ref().map(|limit| trace::tracer(names, verbosity > 1, limit.clone()));
        match &mut self.link {
            None => self.engine.set_tracer(tracer(Names::Serve)),
            Some(link) => {
                self.engine.set_tracer(tracer(Names::Post));
                link.link.export().set_tracer(tracer(Names::Export));
                if let Some(callers) = &mut link.callers {
                    callers.set_messages(verbosity > 1);
                }
            }
        }
    }
}
