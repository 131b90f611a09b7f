//! Replies, the receiver role, and the end of the connection.

use super::*;

#[test]
fn a_single_caller_receives_its_own_reply() {
    let mut bench = Bench::new(WIDE);
    let (id, tag, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    assert_eq!(bench.deliver(tag, 7), None);
    assert_eq!(bench.step(id), Action::Completed(Outcome::Reply(7)));
    assert_eq!(bench.woken(), []);
    assert_eq!(bench.machine.outstanding(), 0);
}

#[test]
fn replies_out_of_order_reach_their_calls() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    let (b, tag_b, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep);
    let (c, tag_c, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep);
    assert_eq!(bench.deliver(tag_c, 3), None);
    assert_eq!(bench.step(a), Action::Receive);
    assert_eq!(bench.deliver(tag_b, 2), None);
    assert_eq!(bench.step(a), Action::Receive);
    assert_eq!(
        bench.woken(),
        [(c.0, Wakeup::Completed(Outcome::Reply(3))), (b.0, Wakeup::Completed(Outcome::Reply(2)))]
    );
    assert_eq!(bench.deliver(tag_a, 1), None);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), []);
}

#[test]
fn the_last_caller_to_sleep_becomes_the_receiver() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a, _) = bench.waiting_call();
    let (_, _, _) = bench.waiting_call();
    let (c, _, _) = bench.waiting_call();
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), [(c.0, Wakeup::Receive)]);
    assert_eq!(bench.machine.stats().handovers, 1);
}

/// The original elects the first caller of its list, which may be inside `send`.
#[test]
fn the_role_never_goes_to_a_caller_in_send() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a, _) = bench.waiting_call();
    let (b, tag_b) = bench.sent_call(); // b stays in send
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), [], "no caller can receive now");
    // It takes the role when its `send` returns.
    assert_eq!(bench.sent(b, Ok(())), Action::Receive);
    bench.deliver(tag_b, 2);
    assert_eq!(bench.step(b), Action::Completed(Outcome::Reply(2)));
}

#[test]
fn the_role_never_goes_to_a_non_blocking_call() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a, _) = bench.waiting_call();
    bench.started_call(1);
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), []);
    let (_, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive, "the role was free");
}

#[test]
fn a_reply_during_send_is_delivered() {
    let mut bench = Bench::new(WIDE);
    let (a, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    let (b, tag_b) = bench.sent_call();
    assert_eq!(bench.deliver(tag_b, 2), None);
    assert_eq!(bench.step(a), Action::Receive);
    assert_eq!(bench.woken(), [], "b is in send");
    assert_eq!(bench.sent(b, Ok(())), Action::Completed(Outcome::Reply(2)));
}

#[test]
fn a_reply_before_its_send_fails_is_delivered() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (b, tag_b) = bench.sent_call();
    assert_eq!(bench.deliver(tag_b, 2), None);
    assert_eq!(bench.sent(b, Err(5)), Action::Completed(Outcome::Reply(2)));
}

#[test]
fn a_second_reply_during_send_is_an_orphan() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (b, tag_b) = bench.sent_call();
    assert_eq!(bench.deliver(tag_b, 2), None);
    assert_eq!(bench.deliver(tag_b, 3), Some(3));
    assert_eq!(bench.sent(b, Ok(())), Action::Completed(Outcome::Reply(2)));
}

#[test]
fn an_unmatched_message_is_an_orphan_and_callers_continue() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a, _) = bench.waiting_call();
    assert_eq!(bench.deliver(99, 1), Some(1));
    assert_eq!(bench.deliver(u32::MAX, 2), Some(2));
    assert_eq!(bench.machine.handle_message(None, 3, |_, _| ()), Some(3));
    assert_eq!(bench.step(a), Action::Receive);
    bench.deliver(tag_a, 4);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(4)));
    assert_eq!(bench.deliver(tag_a, 5), Some(5), "twice");
    assert_eq!(bench.machine.stats().orphans, 4);
}

#[test]
fn a_reply_to_an_unsent_request_is_an_orphan() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.waiting_call();
    let _in_send = bench.sent_call();
    let tagged = bench.call();
    assert!(!tagged.turn);
    assert_eq!(bench.deliver(tagged.tag.unwrap(), 1), Some(1));
    assert_eq!(bench.queue(tagged.id, 10), TurnGrant::Wait);
    assert_eq!(bench.deliver(tagged.tag.unwrap(), 2), Some(2));
    assert_eq!(bench.step(a), Action::Receive);
    assert_eq!(bench.woken(), []);
}

#[test]
fn the_end_of_the_connection_ends_sent_calls_without_replies() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.waiting_call();
    let (b, tag_b, _) = bench.waiting_call();
    let (c, _, _) = bench.waiting_call();
    bench.deliver(tag_b, 2);
    bench.end();
    assert_eq!(bench.step(a), Action::Completed(Outcome::Ended));
    assert_eq!(
        bench.woken(),
        [(b.0, Wakeup::Completed(Outcome::Reply(2))), (c.0, Wakeup::Completed(Outcome::Ended))]
    );
    assert_eq!(bench.machine.outstanding(), 0);
    // A later call tries again.
    let (_, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
}

#[test]
fn the_end_of_the_connection_wakes_any_number_of_callers() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.waiting_call();
    for _ in 0..100 {
        bench.waiting_call();
    }
    bench.end();
    assert_eq!(bench.step(a), Action::Completed(Outcome::Ended));
    let woken = bench.woken();
    assert_eq!(woken.len(), 100);
    assert!(woken.iter().all(|(_, told)| *told == Wakeup::Completed(Outcome::Ended)));
    assert_eq!(bench.machine.stats().errors, 101);
}

#[test]
fn a_call_in_send_ends_with_the_connection_when_send_returns() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.waiting_call();
    let (b, _) = bench.sent_call();
    let (c, _) = {
        let begun = bench.call();
        bench.queue(begun.id, 3);
        (begun.id, begun.tag)
    };
    bench.end();
    assert_eq!(bench.step(a), Action::Completed(Outcome::Ended));
    assert_eq!(
        bench.woken(),
        [(c.0, Wakeup::Completed(Outcome::Ended))],
        "b is in send, c was in the queue"
    );
    assert_eq!(bench.machine.outstanding(), 1, "b has its tag until its send returns");
    assert_eq!(bench.sent_since(b, Ok(()), 0), Action::Completed(Outcome::Ended));
    assert_eq!(bench.machine.outstanding(), 0);
}

/// A caller that had the turn, but was not in `send` yet, sends on the new connection.
#[test]
fn a_send_that_begins_after_the_end_is_not_affected() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.waiting_call();
    let (b, tag_b) = bench.sent_call();
    bench.end();
    assert_eq!(bench.step(a), Action::Completed(Outcome::Ended));
    assert_eq!(bench.sent_since(b, Ok(()), 1), Action::Receive);
    bench.deliver(tag_b, 2);
    assert_eq!(bench.step(b), Action::Completed(Outcome::Reply(2)));
}

#[test]
fn a_reply_after_the_end_and_during_send_is_delivered() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.waiting_call();
    let (b, tag_b) = bench.sent_call();
    bench.end();
    assert_eq!(bench.step(a), Action::Completed(Outcome::Ended));
    assert_eq!(bench.deliver(tag_b, 2), None);
    assert_eq!(bench.sent(b, Ok(())), Action::Completed(Outcome::Reply(2)));
}

#[test]
fn a_tag_freed_by_the_end_goes_to_the_back_of_the_queue() {
    let mut bench = Bench::with_tags(3);
    let (a, tag_a, _) = bench.waiting_call();
    bench.end();
    assert_eq!(bench.step(a), Action::Completed(Outcome::Ended));
    let mut next = Vec::new();
    for _ in 0..3 {
        next.push(bench.waiting_call().1);
    }
    assert_eq!(next.iter().position(|&tag| tag == tag_a), Some(2));
}

#[test]
fn the_receive_proc_keeps_the_role_until_the_end() {
    let mut bench = Bench::new(WIDE);
    assert!(bench.machine.request_receive_proc());
    assert!(!bench.machine.request_receive_proc(), "one is enough");
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    let (a, tag_a, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep);
    let (b, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep);
    bench.deliver(tag_a, 1);
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    assert_eq!(bench.woken(), [(a.0, Wakeup::Completed(Outcome::Reply(1)))]);
    bench.end();
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Denied);
    assert_eq!(bench.woken(), [(b.0, Wakeup::Completed(Outcome::Ended))]);
    let (_, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive, "the receive proc has stopped");
}

#[test]
fn the_receive_proc_waits_for_the_receiver_and_precedes_callers() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a, _) = bench.waiting_call();
    let (b, _, _) = bench.waiting_call();
    assert!(bench.machine.request_receive_proc());
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Wait);
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), [(RECEIVE_PROC, Wakeup::Work)]);
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    let _ = b;
}

#[test]
fn the_role_is_granted_if_the_receive_proc_cannot_start() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a, _) = bench.waiting_call();
    let (b, _, _) = bench.waiting_call();
    assert!(bench.machine.request_receive_proc());
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), [], "the receive proc is starting");
    // The proc could not be started: its starter reports that it is gone.
    bench.machine.receive_proc_gone();
    bench.gather();
    assert_eq!(bench.woken(), [(b.0, Wakeup::Receive)]);
}

#[test]
fn receiving_by_hand_takes_the_role_in_turn() {
    let mut bench = Bench::new(WIDE);
    let (id, seat) = bench.machine.begin_receive(false).unwrap();
    assert_eq!(seat, ReceiverGrant::Granted);
    let (a, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep);
    assert_eq!(bench.machine.begin_receive(false).unwrap().1, ReceiverGrant::Wait);
    bench.machine.end_receive(id);
    bench.gather();
    assert_eq!(bench.woken(), [(a.0, Wakeup::Receive)]);
    // A blocking receive by hand is granted the role like a caller.
    let (by_hand, seat) = bench.machine.begin_receive(true).unwrap();
    assert_eq!(seat, ReceiverGrant::Wait);
    bench.machine.set_asleep(by_hand, by_hand.0);
    bench.deliver(0, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), [(by_hand.0, Wakeup::Receive)]);
    bench.machine.end_receive(by_hand);
    let (_, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
}

#[test]
fn a_hang_up_ends_all_calls_and_refuses_later_ones() {
    let mut bench = Bench::with_tags(3);
    let (a, tag_a, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    let (b, _, _) = bench.waiting_call();
    let (c, _) = bench.sent_call();
    let d = bench.begin(None).unwrap().id;
    assert_eq!(bench.step(d), Action::Sleep);
    bench.machine.hang_up();
    bench.gather();
    assert_eq!(
        bench.woken(),
        [(d.0, Wakeup::Completed(Outcome::Ended)), (b.0, Wakeup::Completed(Outcome::Ended))]
    );
    assert_eq!(bench.begin(None), Err(BeginError::HungUp));
    assert_eq!(bench.begin(Some(1)), Err(BeginError::HungUp));
    assert_eq!(bench.machine.begin_message(), Err(BeginError::HungUp));
    assert_eq!(bench.machine.begin_receive(true), Err(BeginError::HungUp));
    assert_eq!(
        bench.sent_since(c, Ok(()), 0),
        Action::Completed(Outcome::Ended),
        "when its send returns"
    );
    assert_eq!(bench.deliver(tag_a, 1), Some(1), "too late");
    assert_eq!(bench.step(a), Action::Completed(Outcome::Ended), "its recv has returned");
    assert_eq!(bench.machine.outstanding(), 0);
    assert_eq!(bench.woken(), []);
}

#[test]
fn a_hang_up_ends_a_receiving_tag_waiter_and_a_caller_that_sets_its_tag() {
    let mut bench = Bench::with_tags(2);
    let (a, _) = bench.started_call(1);
    let (b, _) = bench.started_call(2);
    let muxer = bench.begin(None).unwrap().id;
    assert_eq!(bench.step(muxer), Action::Receive);
    bench.machine.hang_up();
    bench.gather();
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Ended));
    assert_eq!(bench.can_finish(a, false), CollectAction::Ended);
    assert_eq!(bench.can_finish(b, false), CollectAction::Ended);
    let mut other = Bench::with_tags(2);
    let (x, _) = other.sent_call();
    let tagged = other.call();
    other.machine.hang_up();
    other.gather();
    assert_eq!(other.queue(tagged.id, 5), TurnGrant::HungUp);
    assert_eq!(other.sent_since(x, Ok(()), 0), Action::Completed(Outcome::Ended));
    assert_eq!(other.machine.outstanding(), 0);
}

/// A proc that the program starts may start late, when no caller is left to stop it.
#[test]
fn procs_that_start_after_a_hang_up_stop_at_once() {
    let mut bench = Bench::new(WIDE);
    bench.machine.hang_up();
    assert!(bench.machine.request_receive_proc());
    assert!(bench.machine.request_send_proc());
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Denied);
    assert_eq!(bench.send_proc_work(), SendProcAction::Stop);
    assert_eq!(bench.woken(), []);
}
