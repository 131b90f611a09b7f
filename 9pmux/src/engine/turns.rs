//! Turns: how many messages of one client 9pmux itself replies to before it serves the other clients.
//!
//! Most requests are forwarded, and the limits of requests in flight bound what one client can have done.
//! 9pmux replies at once to a Tversion, to a Tflush of nothing, and to a request that it refuses. A client
//! that sends only such messages would keep 9pmux busy for as long as it sends. Messages that are not
//! forwarded therefore have a cost, and a limit for each turn of the driver, which begins with
//! [`tick`](Engine::tick):
//!
//! | event | effect |
//! |---|---|
//! | the messages of a client in this turn have cost `max_turn_cost`; or more than a quarter of that, and those of all clients [`TURNS`] times that | the client goes to the end of the turn queue; its next message waits ([`Blocked::OnTurn`]), and it is not read |
//! | `tick` | the clients of the queue are served round robin, each as far as the limit of a client permits, as long as the limit of all permits |
//!
//! A turn is thus short, whatever the clients have sent. A client with a few such messages does not wait, and
//! a client that is alone in the queue waits only for the events of the others to be handled.
//!
//! Tflush that take effect behind a blocked message are an exception: all that have arrived are handled
//! together, since each search for their targets costs more than a flush. The excess is a debt,
//! which the client pays with its next turns.

use super::Engine;
use super::clients::{Blocked, ClientState};
use crate::wire::{kind, types};

/// The cost of most messages that are not forwarded.
pub const REPLY_COST: u32 = 1;

/// The cost of a Tversion, which ends a session.
const VERSION_COST: u32 = 8;

/// The limit of all clients for a turn, as a multiple of the limit of one client.
const TURNS: u32 = 4;

/// Returns the cost of a message that is not forwarded.
pub fn cost(message: &[u8]) -> u32 {
    if kind(message) == types::TVERSION { VERSION_COST } else { REPLY_COST }
}

impl Engine {
    /// Counts a message that is not forwarded for its client.
    #[inline]
    pub(super) fn count_turn(&mut self, client_index: u32, cost: u32) {
        let turn = self.turn;
        let client = self.clients.get(client_index);
        if std::mem::replace(&mut client.turn, turn) != turn && !client.in_turn_queue {
            client.turn_cost = 0;
        }
        client.turn_cost = client.turn_cost.saturating_add(cost);
        self.turn_budget = self.turn_budget.saturating_sub(cost);
        let max = self.config.max_turn_cost;
        if client.turn_cost >= max || client.turn_cost > max / 4 && self.turn_budget == 0 {
            self.enqueue_turn(client_index);
        }
    }

    /// Appends the client to the turn queue, unless it is in it.
    fn enqueue_turn(&mut self, client_index: u32) {
        let client = self.clients.get(client_index);
        if !std::mem::replace(&mut client.in_turn_queue, true) {
            self.clients.enqueue(&mut self.turn_queue, client_index);
            self.mark_dirty(client_index);
        }
    }

    /// Begins a turn, and serves the clients of the turn queue.
    pub(super) fn begin_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        self.turn_budget = self.config.max_turn_cost.saturating_mul(TURNS);
        while self.turn_budget > 0 {
            let Some(id) = self.turn_queue.pop_front() else {
                return;
            };
            self.turn_budget -= 1;
            if let Some(client_index) = self.clients.index_of(id) {
                self.run_turn(client_index);
            }
        }
    }

    /// Processes messages of a client of the turn queue.
    fn run_turn(&mut self, client_index: u32) {
        let (max, turn) = (self.config.max_turn_cost, self.turn);
        let client = self.clients.get(client_index);
        client.in_turn_queue = false;
        if client.state == ClientState::Closing {
            return;
        }
        client.turn = turn;
        client.turn_cost = client.turn_cost.saturating_sub(max);
        if client.turn_cost >= max {
            self.turn_budget = self.turn_budget.saturating_sub(max);
            return self.enqueue_turn(client_index);
        }
        if client.blocked == Blocked::OnTurn {
            client.blocked = Blocked::No;
            self.process_inbox(client_index);
        }
        // The client may be read again.
        self.mark_dirty(client_index);
        self.process_out_of_order(client_index);
        self.count_memory(client_index);
    }
}
