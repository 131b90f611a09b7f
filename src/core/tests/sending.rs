//! The turn to send, with and without a send proc.

use super::*;

/// Two callers: one in send, one asleep in the queue.
fn one_queued() -> (Bench, Begun, Begun) {
    let mut bench = Bench::new(WIDE);
    let a = bench.call();
    assert!(a.turn);
    let b = bench.call();
    assert!(!b.turn);
    assert_eq!(bench.queue(b.id, 20), SendTurn::Wait);
    (bench, a, b)
}

#[test]
fn the_turn_is_one_callers_at_a_time() {
    let (mut bench, a, b) = one_queued();
    assert_eq!(bench.woken(), []);
    assert_eq!(bench.sent(a.id, Ok(())), Action::Receive);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
    let c = bench.call();
    assert!(!c.turn);
}

#[test]
fn nobody_gets_in_before_the_queue() {
    let (mut bench, a, b) = one_queued();
    let c = bench.call();
    assert_eq!(bench.queue(c.id, 30), SendTurn::Wait);
    assert_eq!(bench.sent(a.id, Ok(())), Action::Receive);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
    let d = bench.call();
    assert!(!d.turn, "the turn is b's, though b has not run yet");
    assert_eq!(bench.sent(b.id, Err(1)), Action::Completed(Outcome::Failed(1)));
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Turn(30))]);
}

#[test]
fn a_failed_send_fails_that_call_alone_and_passes_the_turn() {
    let (mut bench, a, b) = one_queued();
    assert_eq!(bench.sent(a.id, Err(5)), Action::Completed(Outcome::Failed(5)));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
    assert_eq!(bench.sent(b.id, Ok(())), Action::Receive);
    assert_eq!(bench.machine.outstanding(), 1);
    assert_eq!(bench.machine.stats().errors, 1);
}

#[test]
fn a_request_that_takes_no_tag_passes_the_turn() {
    let (mut bench, a, b) = one_queued();
    assert_eq!(bench.machine.cancel_unsent(a.id), None);
    bench.gather();
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
    assert_eq!(bench.machine.outstanding(), 1);
}

#[test]
fn a_queued_request_is_dropped_at_the_end() {
    let (mut bench, a, b) = one_queued();
    bench.end();
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Ended))]);
    assert_eq!(bench.sent_since(a.id, Ok(()), 0), Action::Completed(Outcome::Ended));
    assert_eq!(bench.woken(), [], "nobody waits for the turn any more");
    assert!(bench.call().turn);
}

#[test]
fn the_send_proc_sends_in_order_and_the_owners_sleep_on() {
    let mut bench = Bench::new(WIDE);
    assert!(bench.machine.request_send_proc());
    assert!(!bench.machine.request_send_proc());
    assert!(bench.machine.request_receive_proc());
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    let a = bench.call();
    assert!(!a.turn, "the turn is the proc's");
    assert_eq!(bench.queue(a.id, 10), SendTurn::Wait);
    assert_eq!(bench.woken(), [(SEND_PROC, Wakeup::Work)]);
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), SendTurn::Wait);
    assert_eq!(bench.woken(), [], "it is awake");
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(a.id, 10));
    bench.proc_sent(a.id, Ok(()));
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(b.id, 20));
    bench.proc_sent(b.id, Ok(()));
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    assert_eq!(bench.woken(), [], "their owners wait for replies");
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
fn the_send_procs_failures_are_the_calls() {
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
fn a_reply_before_the_send_proc_has_sent_counts() {
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
fn the_send_proc_stops_at_the_end_and_the_turn_is_free_again() {
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
    assert_eq!(bench.queue(c.id, 30), SendTurn::Wait);
    bench.proc_sent_since(a.id, Ok(()), 0);
    assert_eq!(bench.woken(), [(a.id.0, Wakeup::Completed(Outcome::Ended))]);
    assert_eq!(bench.send_proc_work(), SendProcAction::Stop);
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Turn(30))]);
}

#[test]
fn callers_leave_it_to_procs_that_are_on_their_way() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    bench.machine.request_receive_proc();
    let a = bench.call();
    assert!(!a.turn);
    assert_eq!(bench.queue(a.id, 10), SendTurn::Wait);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(a.id, 10));
    bench.proc_sent(a.id, Ok(()));
    assert_eq!(bench.woken(), [], "the role is the receive proc's");
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
}

#[test]
fn a_send_proc_that_never_comes_loses_no_turn() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    let a = bench.call();
    assert_eq!(bench.queue(a.id, 10), SendTurn::Wait);
    bench.machine.send_proc_gone();
    bench.gather();
    assert_eq!(bench.woken(), [(a.id.0, Wakeup::Turn(10))]);
}

#[test]
fn procs_that_are_stopping_stay_when_they_are_wanted_again() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    bench.machine.request_receive_proc();
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    bench.end();
    assert_eq!(bench.woken(), [(SEND_PROC, Wakeup::Work)]);
    assert!(!bench.machine.request_send_proc(), "the one there was will do");
    assert!(!bench.machine.request_receive_proc());
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    assert!(!bench.call().turn);
}

#[test]
fn a_call_sent_as_the_receive_proc_goes_gets_the_role() {
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
fn a_message_that_is_no_call_takes_its_turn() {
    let mut bench = Bench::new(WIDE);
    let a = bench.call();
    let message = bench.machine.begin_message().unwrap();
    assert_eq!(bench.queue(message, 99), SendTurn::Wait);
    bench.sent(a.id, Ok(()));
    assert_eq!(bench.woken(), [(message.0, Wakeup::Turn(99))]);
    assert_eq!(bench.sent(message, Ok(())), Action::Pending);
    assert!(bench.call().turn);
}

/// Somebody receives, one has the turn, two are in the queue.
fn helper() -> (Bench, (CallId, u32), (CallId, u32), Begun, Begun) {
    let mut bench = Bench::new(WIDE);
    let (muxer, muxers_tag, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    let (a, tag_a) = bench.sent_call();
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), SendTurn::Wait);
    let c = bench.call();
    assert_eq!(bench.queue(c.id, 30), SendTurn::Wait);
    (bench, (muxer, muxers_tag), (a, tag_a), b, c)
}

#[test]
fn who_has_the_turn_sends_for_those_in_the_queue() {
    let (mut bench, _, (a, _), b, c) = helper();
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    assert_eq!(bench.helped(a, b.id, Ok(())), Action::ProxySend(c.id, 30));
    assert_eq!(bench.helped(a, c.id, Err(7)), Action::Sleep);
    assert_eq!(
        bench.woken(),
        [(c.id.0, Wakeup::Completed(Outcome::Failed(7)))],
        "b sleeps on for its reply"
    );
    assert_eq!(bench.deliver(b.tag.unwrap(), 2), None);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Reply(2)))]);
    assert!(bench.call().turn);
}

#[test]
fn one_whose_reply_is_there_helps_no_longer() {
    let (mut bench, _, (a, tag_a), b, _) = helper();
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    bench.deliver(tag_a, 1);
    assert_eq!(bench.helped(a, b.id, Ok(())), Action::Completed(Outcome::Reply(1)));
    assert!(matches!(bench.woken()[..], [(_, Wakeup::Turn(30))]));
}

#[test]
fn nobody_helps_while_nobody_receives() {
    let (mut bench, a, b) = one_queued();
    assert_eq!(bench.sent(a.id, Ok(())), Action::Receive, "a is needed for that");
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
}

/// The server may not read on until it is read from: somebody has to, and the helper is in send.
#[test]
fn one_in_the_queue_receives_when_the_muxer_leaves() {
    let (mut bench, (muxer, muxers_tag), (a, tag_a), b, c) = helper();
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    bench.deliver(muxers_tag, 9);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(9)));
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Receive)]);
    assert_eq!(bench.step(c.id), Action::Receive);
    bench.deliver(tag_a, 1);
    // Its own request is sent before the helper, though it has its reply, leaves.
    assert_eq!(bench.helped(a, b.id, Ok(())), Action::ProxySend(c.id, 30));
    assert_eq!(bench.helped(a, c.id, Ok(())), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.step(c.id), Action::Receive);
    bench.deliver(c.tag.unwrap(), 3);
    assert_eq!(bench.step(c.id), Action::Completed(Outcome::Reply(3)));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Receive)]);
}

#[test]
fn a_stand_in_whose_request_can_not_be_sent_fails() {
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

/// All that is being sent at once has been answered: nothing more may come, and the stand-in, whose
/// own send has yet to return, would wait in `recv` for good.
#[test]
fn a_stand_in_leaves_when_all_that_is_being_sent_has_been_answered() {
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

/// A sender that has taken another along with its own request; the muxer has left, and that other one
/// receives for all.
fn stand_in() -> (Bench, (CallId, u32), Begun) {
    let mut bench = Bench::new(WIDE);
    let (muxer, muxers_tag, _) = bench.waiting_call();
    let a = bench.sent_call();
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), SendTurn::Wait);
    assert_eq!(bench.machine.pop_for_batch(), Some((b.id, 20)));
    bench.deliver(muxers_tag, 9);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(9)));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Receive)]);
    (bench, a, b)
}

/// The same of a sender that has taken others along with its own request.
/// The server has taken all that is being sent, so the sender comes back by itself; and what is due besides, a
/// reply to a call that was given up, may never come.
#[test]
fn a_stand_in_leaves_when_all_that_is_being_sent_is_its_own_and_has_been_answered() {
    let mut bench = Bench::new(WIDE);
    let (muxer, muxers_tag, _) = bench.waiting_call();
    let (given_up, _) = bench.started_call(0);
    bench.machine.abandon(given_up);
    let (a, tag_a) = bench.sent_call();
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), SendTurn::Wait);
    assert_eq!(bench.sent(a, Ok(())), Action::ProxySend(b.id, 20));
    bench.deliver(muxers_tag, 9);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(9)));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Receive)]);
    assert_eq!(bench.step(b.id), Action::Receive);
    bench.deliver(b.tag.unwrap(), 2);
    assert_eq!(bench.step(b.id), Action::Sleep);
    assert_eq!(bench.woken(), [], "nor is it called again");
    assert_eq!(bench.helped(a, b.id, Ok(())), Action::Receive);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Reply(2)))]);
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
}

#[test]
fn a_stand_in_leaves_when_the_senders_own_has_been_answered_too() {
    let (mut bench, (_, tag_a), b) = stand_in();
    bench.deliver(b.tag.unwrap(), 2);
    assert_eq!(bench.step(b.id), Action::Receive, "a's reply is due");
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(b.id), Action::Sleep);
}

/// Or could not be sent: the others of the batch are being sent without it.
#[test]
fn a_stand_in_leaves_when_the_senders_own_could_not_be_sent() {
    let (mut bench, (a, _), b) = stand_in();
    bench.machine.first_send_failed();
    bench.deliver(b.tag.unwrap(), 2);
    assert_eq!(bench.step(b.id), Action::Sleep, "a has failed");
    bench.proc_sent(b.id, Ok(()));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Reply(2)))]);
    assert_eq!(bench.sent(a, Err(5)), Action::Completed(Outcome::Failed(5)));
}

/// Or the connection has ended: `recv` would only say so again, while the others' send goes on.
#[test]
fn a_stand_in_leaves_at_the_end_of_the_connection() {
    let (mut bench, (a, _), b) = stand_in();
    assert_eq!(bench.step(b.id), Action::Receive);
    let began = bench.machine.epoch();
    bench.end();
    assert_eq!(bench.step(b.id), Action::Sleep);
    bench.proc_sent_since(b.id, Ok(()), began);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::Ended))]);
    assert_eq!(bench.sent_since(a, Ok(()), began), Action::Completed(Outcome::Ended));
}

/// The same of the first whose request a sender sends for it.
#[test]
fn a_stand_in_leaves_when_the_first_could_not_be_sent() {
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

/// The same of one with which a message by hand is sent: nothing comes back for that, ever.
#[test]
fn a_stand_in_does_not_wait_for_a_reply_to_a_message_by_hand() {
    let mut bench = Bench::new(WIDE);
    let (muxer, muxers_tag, _) = bench.waiting_call();
    bench.machine.request_send_proc();
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), SendTurn::Wait);
    let message = bench.machine.begin_message().unwrap();
    assert_eq!(bench.queue(message, 30), SendTurn::Wait);
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

/// It stands in no queue while it has yet to be told that it is sent.
#[test]
fn a_reply_to_a_non_blocking_call_that_has_yet_to_be_told_that_it_is_sent() {
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
    // The wakes have not been given yet.
    let orphan = bench.machine.handle_message(n.tag, 6, |_, _| ());
    assert_eq!(orphan, None);
    bench.gather();
    assert_eq!(bench.woken(), [(n.id.0, Wakeup::Sent)]);
    assert_eq!(bench.can_finish(n.id, true), CollectAction::Reply(6));
    bench.deliver(tag_w, 7);
    assert_eq!(
        bench.woken(),
        [(w.0, Wakeup::Completed(Outcome::Reply(7)))],
        "who waits is still in the queue"
    );
    assert_eq!(bench.step(muxer), Action::Receive);
}

#[test]
fn a_receive_proc_that_goes_leaves_the_role_to_one_that_waits() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    bench.machine.request_receive_proc();
    assert_eq!(bench.send_proc_work(), SendProcAction::Wait);
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    bench.end();
    assert!(!bench.machine.request_send_proc(), "that one stays");
    bench.woken();
    let a = bench.call();
    bench.queue(a.id, 10);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(a.id, 10));
    bench.proc_sent(a.id, Ok(()));
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Denied);
    assert_eq!(bench.woken(), [(a.id.0, Wakeup::Receive)]);
}

/// A non-blocking call could not receive, should the muxer leave while its request is being sent.
#[test]
fn who_could_not_stand_in_is_not_helped() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (a, _) = bench.sent_call();
    let n = bench.begin(Some(1)).unwrap();
    assert_eq!(bench.queue(n.id, 20), SendTurn::Wait);
    assert_eq!(bench.sent(a, Ok(())), Action::Sleep);
    assert_eq!(bench.woken(), [(n.id.0, Wakeup::Turn(20))]);
}

/// The send proc that takes over may not come: the stand-in's request is sent before that is known.
#[test]
fn a_stand_in_is_seen_to_though_a_send_proc_starts() {
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

/// An early reply is not one that is due, and does not hide that another is.
#[test]
fn an_early_reply_leaves_the_count_of_those_due_right() {
    let mut bench = Bench::with_tags(2);
    let (n, tag_n) = bench.started_call(1);
    let (a, tag_a) = bench.sent_call();
    assert_eq!(bench.deliver(tag_a, 1), None, "a is in send yet");
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
fn those_who_receive_by_hand_are_told_once_that_a_proc_has_come() {
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
fn a_message_by_hand_that_fails_is_no_call_without_a_reply() {
    let mut bench = Bench::new(WIDE);
    let message = bench.machine.begin_message().unwrap();
    assert_eq!(bench.queue(message, 9), SendTurn::Granted(9));
    // This one waits for the turn, and the connection ends.
    let other = bench.machine.begin_message().unwrap();
    assert_eq!(bench.queue(other, 8), SendTurn::Wait);
    bench.end();
    assert_eq!(bench.woken(), [(other.0, Wakeup::Completed(Outcome::Ended))]);
    assert_eq!(bench.sent(message, Err(5)), Action::Completed(Outcome::Failed(5)));
    // This one comes too late.
    let late = bench.machine.begin_message().unwrap();
    bench.machine.hang_up();
    assert_eq!(bench.queue(late, 7), SendTurn::HungUp);
    assert_eq!((bench.machine.stats().calls, bench.machine.stats().errors), (0, 0));
}

/// Who has the turn from the beginning counts as being sent, so a server that answers what it was not
/// asked is believed; and then the request does not take its tag.
#[test]
fn the_reply_to_a_call_that_is_taken_back_is_counted_as_an_orphan() {
    let mut bench = Bench::new(WIDE);
    let a = bench.call();
    assert_eq!(bench.deliver(a.tag.unwrap(), 3), None);
    assert_eq!(bench.machine.cancel_unsent(a.id), Some(3));
    assert_eq!((bench.machine.stats().orphans, bench.machine.stats().errors), (1, 1));
}

/// `recv` may go on to say at once that the connection has ended: a stand-in that came back to it each
/// time would never sleep, and on one processor whoever is in send would never go on.
#[test]
fn a_stand_in_leaves_when_the_connection_has_ended() {
    let mut bench = Bench::new(WIDE);
    let (muxer, tag, _) = bench.waiting_call();
    let (a, _) = bench.sent_call();
    let (b, c) = (bench.call(), bench.call());
    assert_eq!(bench.queue(b.id, 8), SendTurn::Wait);
    assert_eq!(bench.queue(c.id, 9), SendTurn::Wait);
    assert_eq!(bench.machine.pop_for_batch(), Some((b.id, 8)));
    assert_eq!(bench.machine.pop_for_batch(), Some((c.id, 9)));
    bench.deliver(tag, 1);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), [(c.id.0, Wakeup::Receive)]);
    assert_eq!(bench.step(c.id), Action::Receive, "they are being sent");
    let began = bench.machine.epoch();
    bench.end();
    assert_eq!(bench.step(c.id), Action::Sleep, "none of them will be answered");
    bench.proc_sent_since(b.id, Ok(()), began);
    bench.proc_sent_since(c.id, Ok(()), began);
    assert_eq!(
        bench.woken(),
        [(b.id.0, Wakeup::Completed(Outcome::Ended)), (c.id.0, Wakeup::Completed(Outcome::Ended))]
    );
    assert_eq!(bench.sent_since(a, Ok(()), began), Action::Completed(Outcome::Ended));
}
