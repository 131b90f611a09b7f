//! The commands that clients write to `ctl`.

use super::super::{Engine, far_end::CloseCause};
use crate::engine::local_error::LocalError;

/// The maximum number of commands that wait for the driver.
const MAX_COMMANDS: usize = 16;

/// A command that the driver executes ([`Engine::next_control_command`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlCommand {
    /// Log as with so many `-v`.
    Verbose(u8),
    /// Close the connection to the server, and connect again.
    Reconnect,
    /// The same for the server of the export of a link. The driver makes it of `Reconnect`.
    ReconnectExport,
}

impl Engine {
    /// Executes a command, or keeps it for the end of this event or for the driver.
    pub(super) fn run_command(&mut self, data: &[u8]) -> Result<(), LocalError> {
        let unknown = LocalError::UnknownCommand;
        let text = std::str::from_utf8(data).map_err(|_| unknown)?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        // No command has more words than two, and a write may have a million.
        let words: Vec<&str> = line.split(' ').take(3).collect();
        match words[..] {
            ["drop", id] => {
                let number: u64 = id.parse().map_err(|_| unknown)?;
                let connected = self.clients.connected().into_iter();
                let mut ids = connected.map(|client_index| self.clients.id(client_index));
                let id = ids.find(|id| id.number() == number).ok_or(LocalError::NoSuchClient)?;
                self.control.drops.push(id);
                Ok(())
            }
            ["verbose", "0"] => self.keep_command(ControlCommand::Verbose(0)),
            ["verbose", "1"] => self.keep_command(ControlCommand::Verbose(1)),
            ["verbose", "2"] => self.keep_command(ControlCommand::Verbose(2)),
            ["reconnect"] if self.restore.is_some() => self.keep_command(ControlCommand::Reconnect),
            _ => Err(unknown),
        }
    }

    fn keep_command(&mut self, command: ControlCommand) -> Result<(), LocalError> {
        if self.control.commands.len() >= MAX_COMMANDS {
            return Err(LocalError::TooManyRequests);
        }
        self.control.commands.push_back(command);
        Ok(())
    }

    /// Returns the next command that the driver must execute, if there is one.
    pub fn next_control_command(&mut self) -> Option<ControlCommand> {
        self.control.commands.pop_front()
    }

    /// Returns true if a command disconnects clients at the end of this event.
    #[inline]
    pub(in crate::engine) fn has_drops(&self) -> bool {
        !self.control.drops.is_empty()
    }

    /// Disconnects the clients that commands have named, without the output that they have not read.
    #[cold]
    pub(in crate::engine) fn run_drops(&mut self) {
        while let Some(id) = self.control.drops.pop() {
            let Some(client_index) = self.clients.index_of(id) else {
                continue;
            };
            self.drop_client(client_index, CloseCause::Dropped);
        }
    }
}
