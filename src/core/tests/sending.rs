//! The turn to send, with and without a send proc.

use super::*;

/// Two callers: one in send, one asleep in the queue.
fn one_queued() -> (Bench, NewCall, NewCall) {
    let mut bench = Bench::new(WIDE);
    let a = bench.call();
    assert!(a.turn);
    let b = bench.call();
    assert!(!b.turn);
    assert_eq!(bench.queue(b.id, 20), TurnGrant::Wait);
    (bench, a, b)
}

#[test]
fn only_one_caller_has_the_turn() {
    let (mut bench, a, b) = one_queued();
    assert_eq!(bench.woken(), []);
    assert_eq!(bench.sent(a.id, Ok(())), Action::Receive);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
    let c = bench.call();
    assert!(!c.turn);
}

#[test]
fn new_callers_queue_behind_earlier_ones() {
    let (mut bench, a, b) = one_queued();
    let c = bench.call();
    assert_eq!(bench.queue(c.id, 30), TurnGrant::Wait);
    assert_eq!(bench.sent(a.id, Ok(())), Action::Receive);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
    let d = bench.call();
    assert!(!d.turn, "the turn is b's, though b has not run yet");
    assert_eq!(bench.sent(b.id, Err(1)), Action::Completed(Outcome::Failed(1)));
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Turn(30))]);
}

#[test]
fn a_failed_send_fails_only_its_call_and_passes_the_turn() {
    let (mut bench, a, b) = one_queued();
    assert_eq!(bench.sent(a.id, Err(5)), Action::Completed(Outcome::Failed(5)));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
    assert_eq!(bench.sent(b.id, Ok(())), Action::Receive);
    assert_eq!(bench.machine.outstanding(), 1);
    assert_eq!(bench.machine.stats().errors, 1);
}

/// The turn of the second caller is granted, and its wake-up is still queued.
fn one_granted() -> (Bench, NewCall, NewCall) {
    let (mut bench, a, b) = one_queued();
    assert_eq!(bench.machine.handle_sent(a.id, Ok(()), 0), Action::Receive);
    bench.machine.check_invariants();
    (bench, a, b)
}

#[test]
fn a_message_for_a_request_whose_owner_is_being_woken_is_an_orphan() {
    let (mut bench, _, b) = one_granted();
    assert_eq!(bench.deliver(b.tag.unwrap(), 2), Some(2));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
    assert_eq!(bench.deliver(b.tag.unwrap(), 3), None, "the request is being sent");
    assert_eq!(bench.sent(b.id, Ok(())), Action::Completed(Outcome::Reply(3)));
}

#[test]
fn the_end_of_the_connection_leaves_a_granted_turn() {
    let (mut bench, a, b) = one_granted();
    bench.end();
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
    assert_eq!(bench.step(a.id), Action::Completed(Outcome::Ended));
    assert_eq!(bench.sent(b.id, Ok(())), Action::Receive, "the send began after the end");
    assert_eq!(bench.deliver(b.tag.unwrap(), 2), None);
    assert_eq!(bench.step(b.id), Action::Completed(Outcome::Reply(2)));
}

#[test]
fn a_cancelled_unsent_request_passes_the_turn() {
    let (mut bench, a, b) = one_queued();
    assert_eq!(bench.machine.cancel_unsent(a.id), None);
    bench.gather();
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
    assert_eq!(bench.machine.outstanding(), 1);
}

#[test]
fn the_end_of_the_connection_drops_queued_requests() {
    let (mut bench, a, b) = one_queued();
    bench.end();
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Ended))]);
    assert_eq!(bench.sent_since(a.id, Ok(()), 0), Action::Completed(Outcome::Ended));
    assert_eq!(bench.woken(), [], "the send queue is empty");
    assert!(bench.call().turn);
}

#[test]
fn the_send_proc_sends_in_order_while_the_owners_sleep() {
    let mut bench = Bench::new(WIDE);
    assert!(bench.machine.request_send_proc());
    assert!(!bench.machine.request_send_proc());
    assert!(bench.machine.request_receive_proc());
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    let a = bench.call();
    assert!(!a.turn, "the turn is the proc's");
    assert_eq!(bench.queue(a.id, 10), TurnGrant::Wait);
    assert_eq!(bench.woken(), [(SEND_PROC, Wakeup::Work)]);
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), TurnGrant::Wait);
    assert_eq!(bench.woken(), [], "the send proc is awake already");
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(a.id, 10));
    bench.proc_sent(a.id, Ok(()));
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(b.id, 20));
    bench.proc_sent(b.id, Ok(()));
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    assert_eq!(bench.woken(), [], "the owners wait for replies");
    bench.deliver(b.tag.unwrap(), 2);
    bench.deliver(a.tag.unwrap(), 1);
    assert_eq!(
        bench.woken(),
        [
            (b.id.0, Wakeup::Completed(Outcome::Reply(2))),
            (a.id.0, Wakeup::Completed(Outcome::Reply(1)))
        ]
    );
}

#[test]
fn a_failure_in_the_send_proc_fails_only_that_call() {
    let mut bench = Bench::new(WIDE);
    let a = bench.call();
    assert!(a.turn);
    bench.machine.request_send_proc();
    let b = bench.begin(Some(1)).unwrap();
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait, "a is in send");
    bench.queue(b.id, 20);
    bench.sent(a.id, Ok(()));
    assert_eq!(bench.woken(), [(SEND_PROC, Wakeup::Work)]);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(b.id, 20));
    bench.proc_sent(b.id, Err(9));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Failed(9)))]);
    assert_eq!(bench.machine.outstanding(), 1);
}

#[test]
fn a_reply_during_a_send_of_the_send_proc_is_delivered() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    let a = bench.call();
    bench.queue(a.id, 10);
    let b = bench.begin(Some(7)).unwrap();
    bench.queue(b.id, 20);
    bench.woken();
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(a.id, 10));
    assert_eq!(bench.deliver(a.tag.unwrap(), 1), None);
    assert_eq!(bench.woken(), [], "the request is in use until send returns");
    bench.proc_sent(a.id, Err(5));
    assert_eq!(bench.woken(), [(a.id.0, Wakeup::Completed(Outcome::Reply(1)))]);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(b.id, 20));
    assert_eq!(bench.deliver(b.tag.unwrap(), 2), None);
    assert_eq!(bench.arrived, [(7, 2)]);
    bench.proc_sent(b.id, Err(5));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Sent)]);
    assert_eq!(bench.can_finish(b.id, false), CollectAction::Reply(2));
}

#[test]
fn the_end_of_the_connection_stops_the_send_proc_and_frees_the_turn() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    let a = bench.call();
    bench.queue(a.id, 10);
    let b = bench.call();
    bench.queue(b.id, 20);
    bench.woken();
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(a.id, 10));
    bench.end();
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Ended))]);
    let c = bench.call();
    assert!(!c.turn, "the proc is in send");
    assert_eq!(bench.queue(c.id, 30), TurnGrant::Wait);
    bench.proc_sent_since(a.id, Ok(()), 0);
    assert_eq!(bench.woken(), [(a.id.0, Wakeup::Completed(Outcome::Ended))]);
    assert_eq!(bench.send_proc_work(), SendProcAction::Stop);
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Turn(30))]);
}

#[test]
fn callers_wait_for_procs_that_are_starting() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    bench.machine.request_receive_proc();
    let a = bench.call();
    assert!(!a.turn);
    assert_eq!(bench.queue(a.id, 10), TurnGrant::Wait);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(a.id, 10));
    bench.proc_sent(a.id, Ok(()));
    assert_eq!(bench.woken(), [], "the role is the receive proc's");
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
}

#[test]
fn the_turn_is_granted_if_the_send_proc_cannot_start() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    let a = bench.call();
    assert_eq!(bench.queue(a.id, 10), TurnGrant::Wait);
    bench.machine.send_proc_gone();
    bench.gather();
    assert_eq!(bench.woken(), [(a.id.0, Wakeup::Turn(10))]);
}

#[test]
fn stopping_procs_continue_when_requested_again() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    bench.machine.request_receive_proc();
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    bench.end();
    assert_eq!(bench.woken(), [(SEND_PROC, Wakeup::Work)]);
    assert!(!bench.machine.request_send_proc(), "the stopping proc continues");
    assert!(!bench.machine.request_receive_proc());
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    assert!(!bench.call().turn);
}

#[test]
fn a_caller_receives_if_there_is_only_a_send_proc() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    let a = bench.call();
    bench.queue(a.id, 10);
    bench.woken();
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(a.id, 10));
    bench.proc_sent(a.id, Ok(()));
    assert_eq!(bench.woken(), [(a.id.0, Wakeup::Receive)], "there is no receive proc");
}

#[test]
fn a_message_by_hand_waits_for_the_turn() {
    let mut bench = Bench::new(WIDE);
    let a = bench.call();
    let message = bench.machine.begin_message().unwrap();
    assert_eq!(bench.queue(message, 99), TurnGrant::Wait);
    bench.sent(a.id, Ok(()));
    assert_eq!(bench.woken(), [(message.0, Wakeup::Turn(99))]);
    assert_eq!(bench.sent(message, Ok(())), Action::Pending);
    assert!(bench.call().turn);
}

/// One caller receives, one has the turn, two are queued.
fn helper() -> (Bench, (CallId, u32), (CallId, u32), NewCall, NewCall) {
    let mut bench = Bench::new(WIDE);
    let (muxer, muxers_tag, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    let (a, tag_a) = bench.sent_call();
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), TurnGrant::Wait);
    let c = bench.call();
    assert_eq!(bench.queue(c.id, 30), TurnGrant::Wait);
    (bench, (muxer, muxers_tag), (a, tag_a), b, c)
}

#[test]
fn the_sender_sends_the_queued_requests_by_proxy() {
    let (mut bench, _, (a, _), b, c) = helper();
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    assert_eq!(bench.helped(a, b.id, Ok(())), Action::ProxySend(c.id, 30));
    assert_eq!(bench.helped(a, c.id, Err(7)), Action::Sleep);
    assert_eq!(
        bench.woken(),
        [(c.id.0, Wakeup::Completed(Outcome::Failed(7)))],
        "b sleeps until its reply"
    );
    assert_eq!(bench.deliver(b.tag.unwrap(), 2), None);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Reply(2)))]);
    assert!(bench.call().turn);
}

#[test]
fn a_sender_that_has_its_reply_stops_proxy_sending() {
    let (mut bench, _, (a, tag_a), b, _) = helper();
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    bench.deliver(tag_a, 1);
    assert_eq!(bench.helped(a, b.id, Ok(())), Action::Completed(Outcome::Reply(1)));
    assert!(matches!(bench.woken()[..], [(_, Wakeup::Turn(30))]));
}

#[test]
fn a_sender_receives_before_it_sends_by_proxy() {
    let (mut bench, a, b) = one_queued();
    assert_eq!(bench.sent(a.id, Ok(())), Action::Receive, "a must receive");
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
}

/// The server may read no more requests until its replies are received, and the proxy sender is in `send`.
#[test]
fn a_queued_caller_becomes_the_fallback_receiver() {
    let (mut bench, (muxer, muxers_tag), (a, tag_a), b, c) = helper();
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    bench.deliver(muxers_tag, 9);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(9)));
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Receive)]);
    assert_eq!(bench.step(c.id), Action::Receive);
    bench.deliver(tag_a, 1);
    // Its request is sent before the proxy sender leaves, although that caller has its reply.
    assert_eq!(bench.helped(a, b.id, Ok(())), Action::ProxySend(c.id, 30));
    assert_eq!(bench.helped(a, c.id, Ok(())), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.step(c.id), Action::Receive);
    bench.deliver(c.tag.unwrap(), 3);
    assert_eq!(bench.step(c.id), Action::Completed(Outcome::Reply(3)));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Receive)]);
}

#[test]
fn a_fallback_receiver_fails_if_its_request_cannot_be_sent() {
    let (mut bench, (muxer, muxers_tag), (a, tag_a), b, c) = helper();
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    bench.deliver(muxers_tag, 9);
    bench.step(muxer);
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Receive)]);
    assert_eq!(bench.helped(a, b.id, Ok(())), Action::ProxySend(c.id, 30));
    assert_eq!(bench.helped(a, c.id, Err(4)), Action::Sleep);
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(c.id), Action::Completed(Outcome::Failed(4)), "with the next message");
}

/// Every request that is being sent has its reply, so no message may follow. A fallback receiver whose own `send`
/// has not returned would block in `recv` forever.
#[test]
fn a_fallback_receiver_leaves_when_every_request_in_send_has_a_reply() {
    let (mut bench, (muxer, muxers_tag), (a, tag_a), b, c) = helper();
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    assert_eq!(bench.machine.pop_for_batch(), Some((c.id, 30)));
    bench.deliver(muxers_tag, 9);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(9)));
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Receive)]);
    assert_eq!(bench.step(c.id), Action::Receive);
    bench.deliver(tag_a, 1);
    bench.deliver(c.tag.unwrap(), 3);
    assert_eq!(bench.step(c.id), Action::Sleep, "b can receive for itself");
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Receive)]);
    assert_eq!(bench.step(b.id), Action::Receive);
    bench.deliver(b.tag.unwrap(), 2);
    assert_eq!(bench.step(b.id), Action::Sleep, "nothing is due");
}

/// A sender has the request of a second caller in its batch. The receiver has left, and the second caller
/// receives for all.
fn fallback_receiver() -> (Bench, (CallId, u32), NewCall) {
    let mut bench = Bench::new(WIDE);
    let (muxer, muxers_tag, _) = bench.waiting_call();
    let a = bench.sent_call();
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), TurnGrant::Wait);
    assert_eq!(bench.machine.pop_for_batch(), Some((b.id, 20)));
    bench.deliver(muxers_tag, 9);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(9)));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Receive)]);
    (bench, a, b)
}

/// The server has accepted every request that is being sent, so the sender's `send` returns without more messages.
/// The only other reply that is due belongs to an abandoned call and may never arrive.
#[test]
fn a_fallback_receiver_leaves_when_its_own_request_in_send_has_a_reply() {
    let mut bench = Bench::new(WIDE);
    let (muxer, muxers_tag, _) = bench.waiting_call();
    let (given_up, _) = bench.started_call(0);
    bench.machine.abandon(given_up);
    let (a, tag_a) = bench.sent_call();
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), TurnGrant::Wait);
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    bench.deliver(muxers_tag, 9);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(9)));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Receive)]);
    assert_eq!(bench.step(b.id), Action::Receive);
    bench.deliver(b.tag.unwrap(), 2);
    assert_eq!(bench.step(b.id), Action::Sleep);
    assert_eq!(bench.woken(), [], "the fallback receiver is not woken again");
    assert_eq!(bench.helped(a, b.id, Ok(())), Action::Receive);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Reply(2)))]);
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
}

#[test]
fn a_fallback_receiver_leaves_when_the_senders_request_has_a_reply() {
    let (mut bench, (_, tag_a), b) = fallback_receiver();
    bench.deliver(b.tag.unwrap(), 2);
    assert_eq!(bench.step(b.id), Action::Receive, "a's reply is due");
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(b.id), Action::Sleep);
}

/// The sender's own request has failed; the rest of its batch is still being sent.
#[test]
fn a_fallback_receiver_leaves_when_the_senders_request_has_failed() {
    let (mut bench, (a, _), b) = fallback_receiver();
    bench.machine.first_send_failed();
    bench.deliver(b.tag.unwrap(), 2);
    assert_eq!(bench.step(b.id), Action::Sleep, "a has failed");
    bench.proc_sent(b.id, Ok(()));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Reply(2)))]);
    assert_eq!(bench.sent(a, Err(5)), Action::Completed(Outcome::Failed(5)));
}

/// After the end of the connection, `recv` would only report the end again while the `send` continues.
#[test]
fn a_fallback_receiver_leaves_at_the_end_of_the_connection() {
    let (mut bench, (a, _), b) = fallback_receiver();
    assert_eq!(bench.step(b.id), Action::Receive);
    let began = bench.machine.epoch();
    bench.end();
    assert_eq!(bench.step(b.id), Action::Sleep);
    bench.proc_sent_since(b.id, Ok(()), began);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Ended))]);
    assert_eq!(bench.sent_since(a, Ok(()), began), Action::Completed(Outcome::Ended));
}

/// The first request of a batch that is sent by proxy has failed.
#[test]
fn a_fallback_receiver_leaves_when_the_proxied_request_has_failed() {
    let (mut bench, (muxer, muxers_tag), (a, tag_a), b, c) = helper();
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    assert_eq!(bench.machine.pop_for_batch(), Some((c.id, 30)));
    bench.deliver(muxers_tag, 9);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(9)));
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Receive)]);
    assert_eq!(bench.step(c.id), Action::Receive);
    bench.machine.first_send_failed();
    bench.deliver(tag_a, 1);
    bench.deliver(c.tag.unwrap(), 3);
    assert_eq!(bench.step(c.id), Action::Sleep, "b has failed");
    bench.proc_sent(c.id, Ok(()));
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Completed(Outcome::Reply(3)))]);
    assert_eq!(bench.helped(a, b.id, Err(5)), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Failed(5)))]);
}

/// A message by hand is in the same batch. No reply to it is ever due.
#[test]
fn a_fallback_receiver_expects_no_reply_to_a_message_by_hand() {
    let mut bench = Bench::new(WIDE);
    let (muxer, muxers_tag, _) = bench.waiting_call();
    bench.machine.request_send_proc();
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), TurnGrant::Wait);
    let message = bench.machine.begin_message().unwrap();
    assert_eq!(bench.queue(message, 30), TurnGrant::Wait);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(b.id, 20));
    assert_eq!(bench.machine.pop_for_batch(), Some((message, 30)));
    bench.woken();
    bench.deliver(muxers_tag, 9);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(9)));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Receive)]);
    assert_eq!(bench.step(b.id), Action::Receive);
    bench.deliver(b.tag.unwrap(), 2);
    assert_eq!(bench.step(b.id), Action::Sleep, "nothing is due");
    bench.proc_sent(b.id, Ok(()));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Reply(2)))]);
}

/// A sent non-blocking call that has not been woken yet is in no list of waiting callers.
#[test]
fn a_reply_before_the_wakeup_of_a_sent_nonblocking_call_is_delivered() {
    let mut bench = Bench::new(WIDE);
    let (muxer, _, _) = bench.waiting_call();
    let (w, tag_w, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep);
    bench.machine.request_send_proc();
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    let n = bench.begin(Some(5)).unwrap();
    bench.queue(n.id, 50);
    bench.woken();
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(n.id, 50));
    bench.machine.handle_proxy_sent(n.id, Ok(()), 0);
    // The wake-ups have not been delivered yet.
    let orphan = bench.machine.handle_message(n.tag, 6, |_, _| ());
    assert_eq!(orphan, None);
    bench.gather();
    assert_eq!(bench.woken(), [(n.id.0, Wakeup::Sent)]);
    assert_eq!(bench.can_finish(n.id, true), CollectAction::Reply(6));
    bench.deliver(tag_w, 7);
    assert_eq!(
        bench.woken(),
        [(w.0, Wakeup::Completed(Outcome::Reply(7)))],
        "the waiting caller is still in the list"
    );
    assert_eq!(bench.step(muxer), Action::Receive);
}

#[test]
fn a_stopping_receive_proc_hands_the_role_to_a_waiting_caller() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    bench.machine.request_receive_proc();
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    bench.end();
    assert!(!bench.machine.request_send_proc(), "the send proc continues");
    bench.woken();
    let a = bench.call();
    bench.queue(a.id, 10);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(a.id, 10));
    bench.proc_sent(a.id, Ok(()));
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Denied);
    assert_eq!(bench.woken(), [(a.id.0, Wakeup::Receive)]);
}

/// A non-blocking call cannot receive if the receiver leaves while the request is being sent.
#[test]
fn a_nonblocking_call_is_not_sent_by_proxy() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (a, _) = bench.sent_call();
    let n = bench.begin(Some(1)).unwrap();
    assert_eq!(bench.queue(n.id, 20), TurnGrant::Wait);
    assert_eq!(bench.sent(a, Ok(())), Action::Sleep);
    assert_eq!(bench.woken(), [(n.id.0, Wakeup::Turn(20))]);
}

/// A requested send proc may fail to start, so the fallback receiver's request is sent before that is known.
#[test]
fn the_request_of_a_fallback_receiver_is_sent_before_a_send_proc_takes_over() {
    let (mut bench, (muxer, muxers_tag), (a, _), b, c) = helper();
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    bench.deliver(muxers_tag, 9);
    bench.step(muxer);
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Receive)]);
    assert!(bench.machine.request_send_proc());
    assert_eq!(bench.helped(a, b.id, Ok(())), Action::ProxySend(c.id, 30));
    assert_eq!(bench.helped(a, c.id, Ok(())), Action::Sleep);
    bench.machine.send_proc_gone();
    bench.gather();
    assert_eq!(bench.woken(), []);
    assert!(bench.call().turn);
}

/// An early reply does not count as due, and does not hide another reply that is due.
#[test]
fn an_early_reply_does_not_change_the_number_of_replies_due() {
    let mut bench = Bench::with_tags(2);
    let (n, tag_n) = bench.started_call(1);
    let (a, tag_a) = bench.sent_call();
    assert_eq!(bench.deliver(tag_a, 1), None, "a is still in send");
    let x = bench.begin(Some(2)).unwrap();
    assert!(x.tag.is_some());
    let waiting = bench.begin(None).unwrap();
    assert_eq!(bench.step(waiting.id), Action::Receive, "n's reply is due");
    bench.deliver(tag_n, 5);
    assert_eq!(bench.step(waiting.id), Action::Tagged(tag_n));
    assert_eq!(bench.can_finish(n, false), CollectAction::Reply(5));
    assert_eq!(bench.sent(a, Err(3)), Action::Completed(Outcome::Reply(1)));
}

#[test]
fn callers_that_receive_by_hand_are_woken_once_for_a_new_proc() {
    let mut bench = Bench::new(WIDE);
    let (muxer, _, _) = bench.waiting_call();
    for _ in 0..6 {
        let (id, seat) = bench.machine.begin_receive(true).unwrap();
        assert_eq!(seat, ReceiverGrant::Wait);
        bench.machine.set_asleep(id, id.0);
    }
    bench.machine.request_receive_proc();
    bench.machine.handle_disconnect();
    bench.gather();
    let woken = bench.woken();
    assert_eq!(woken.iter().filter(|(_, told)| *told == Wakeup::Busy).count(), 6);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Ended));
}

#[test]
fn a_failed_message_by_hand_is_not_counted_as_a_call() {
    let mut bench = Bench::new(WIDE);
    let message = bench.machine.begin_message().unwrap();
    assert_eq!(bench.queue(message, 9), TurnGrant::Granted(9));
    // This message waits for the turn when the connection ends.
    let other = bench.machine.begin_message().unwrap();
    assert_eq!(bench.queue(other, 8), TurnGrant::Wait);
    bench.end();
    assert_eq!(bench.woken(), [(other.0, Wakeup::Completed(Outcome::Ended))]);
    assert_eq!(bench.sent(message, Err(5)), Action::Completed(Outcome::Failed(5)));
    // This message comes after the hang-up.
    let late = bench.machine.begin_message().unwrap();
    bench.machine.hang_up();
    assert_eq!(bench.queue(late, 7), TurnGrant::HungUp);
    assert_eq!((bench.machine.stats().calls, bench.machine.stats().errors), (0, 0));
}

/// A call that begins with the turn counts as being sent, so a reply to its unsent request is accepted. Then the
/// request does not accept its tag.
#[test]
fn the_reply_to_a_cancelled_unsent_call_is_an_orphan() {
    let mut bench = Bench::new(WIDE);
    let a = bench.call();
    assert_eq!(bench.deliver(a.tag.unwrap(), 3), None);
    assert_eq!(bench.machine.cancel_unsent(a.id), Some(3));
    assert_eq!((bench.machine.stats().orphans, bench.machine.stats().errors), (1, 1));
}

/// After the end, `recv` may return at once every time. A fallback receiver that called it again and again would
/// never sleep, and on one processor the sender would never continue.
#[test]
fn a_fallback_receiver_does_not_spin_after_the_end_of_the_connection() {
    let mut bench = Bench::new(WIDE);
    let (muxer, tag, _) = bench.waiting_call();
    let (a, _) = bench.sent_call();
    let (b, c) = (bench.call(), bench.call());
    assert_eq!(bench.queue(b.id, 8), TurnGrant::Wait);
    assert_eq!(bench.queue(c.id, 9), TurnGrant::Wait);
    assert_eq!(bench.machine.pop_for_batch(), Some((b.id, 8)));
    assert_eq!(bench.machine.pop_for_batch(), Some((c.id, 9)));
    bench.deliver(tag, 1);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Receive)]);
    assert_eq!(bench.step(c.id), Action::Receive, "they are being sent");
    let began = bench.machine.epoch();
    bench.end();
    assert_eq!(bench.step(c.id), Action::Sleep, "no reply will arrive");
    bench.proc_sent_since(b.id, Ok(()), began);
    bench.proc_sent_since(c.id, Ok(()), began);
    assert_eq!(
        bench.woken(),
        [(b.id.0, Wakeup::Completed(Outcome::Ended)), (c.id.0, Wakeup::Completed(Outcome::Ended))]
    );
    assert_eq!(bench.sent_since(a, Ok(()), began), Action::Completed(Outcome::Ended));
}
