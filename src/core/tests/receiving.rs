//! Replies, the muxer's role, and the end of the connection.

use super::*;

#[test]
fn a_lone_caller_receives_for_itself() {
    let mut bench = Bench::new(WIDE);
    let (id, tag, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    assert_eq!(bench.deliver(tag, 7), None);
    assert_eq!(bench.step(id), Action::Completed(Outcome::Reply(7)));
    assert_eq!(bench.woken(), []);
    assert_eq!(bench.machine.outstanding(), 0);
}

#[test]
fn replies_out_of_order_go_to_their_calls() {
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
fn the_role_goes_to_the_last_that_went_to_sleep() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a, _) = bench.waiting_call();
    let (_, _, _) = bench.waiting_call();
    let (c, _, _) = bench.waiting_call();
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), [(c.0, Wakeup::Receive)]);
    assert_eq!(bench.machine.stats().handovers, 1);
}

/// The original elects whoever is first in its list, and that may be a caller inside `send`.
#[test]
fn the_role_never_goes_to_a_caller_in_send() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a, _) = bench.waiting_call();
    let (b, tag_b) = bench.sent_call(); // b stays in send
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), [], "nobody can receive now");
    // When its send returns it takes the role itself.
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
fn a_reply_before_its_send_has_returned_counts() {
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
fn a_reply_before_its_send_has_failed_counts() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (b, tag_b) = bench.sent_call();
    assert_eq!(bench.deliver(tag_b, 2), None);
    assert_eq!(bench.sent(b, Err(5)), Action::Completed(Outcome::Reply(2)));
}

#[test]
fn a_second_reply_before_its_send_has_returned_is_an_orphan() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (b, tag_b) = bench.sent_call();
    assert_eq!(bench.deliver(tag_b, 2), None);
    assert_eq!(bench.deliver(tag_b, 3), Some(3));
    assert_eq!(bench.sent(b, Ok(())), Action::Completed(Outcome::Reply(2)));
}

#[test]
fn what_matches_nobody_is_an_orphan_and_locks_nothing_up() {
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
fn a_reply_to_what_is_not_sent_yet_is_an_orphan() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.waiting_call();
    let _in_send = bench.sent_call();
    let tagged = bench.call();
    assert!(!tagged.turn);
    assert_eq!(bench.deliver(tagged.tag.unwrap(), 1), Some(1));
    assert_eq!(bench.queue(tagged.id, 10), SendTurn::Wait);
    assert_eq!(bench.deliver(tagged.tag.unwrap(), 2), Some(2));
    assert_eq!(bench.step(a), Action::Receive);
    assert_eq!(bench.woken(), []);
}

#[test]
fn the_end_ends_all_that_was_sent_but_not_what_was_answered() {
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
fn the_end_tells_any_number() {
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
fn the_end_ends_a_call_in_send_when_that_returns() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.waiting_call();
    let (b, tag_b) = bench.sent_call();
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
    // Unless its reply comes after all.
    let mut other = Bench::new(WIDE);
    std::mem::swap(&mut other, &mut bench);
    assert_eq!(other.sent_since(b, Ok(()), 0), Action::Completed(Outcome::Ended));
    assert_eq!(other.machine.outstanding(), 0);
    let _ = tag_b;
}

/// One that had the turn, but was not in `send` yet, sends on the new connection.
#[test]
fn the_end_does_not_end_a_call_whose_send_begins_after_it() {
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
fn a_reply_after_the_end_but_before_its_send_has_returned_counts() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.waiting_call();
    let (b, tag_b) = bench.sent_call();
    bench.end();
    assert_eq!(bench.step(a), Action::Completed(Outcome::Ended));
    assert_eq!(bench.deliver(tag_b, 2), None);
    assert_eq!(bench.sent(b, Ok(())), Action::Completed(Outcome::Reply(2)));
}

#[test]
fn a_tag_that_ended_without_a_reply_goes_to_the_back() {
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
fn the_receive_proc_has_the_role_until_the_end() {
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
    assert_eq!(step, Action::Receive, "as if there had been no proc");
}

#[test]
fn the_receive_proc_waits_for_a_muxer_and_comes_before_callers() {
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
fn a_receive_proc_that_never_comes_loses_no_role() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a, _) = bench.waiting_call();
    let (b, _, _) = bench.waiting_call();
    assert!(bench.machine.request_receive_proc());
    bench.deliver(tag_a, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
    assert_eq!(bench.woken(), [], "it is on its way");
    // It could not be started: whoever wanted to does for it what it would have done.
    bench.machine.receive_proc_gone();
    bench.gather();
    assert_eq!(bench.woken(), [(b.0, Wakeup::Receive)]);
}

#[test]
fn a_message_by_hand_takes_the_role_in_turn() {
    let mut bench = Bench::new(WIDE);
    let (id, seat) = bench.machine.begin_receive(false).unwrap();
    assert_eq!(seat, ReceiverGrant::Granted);
    let (a, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep);
    assert_eq!(bench.machine.begin_receive(false).unwrap().1, ReceiverGrant::Wait);
    bench.machine.end_receive(id);
    bench.gather();
    assert_eq!(bench.woken(), [(a.0, Wakeup::Receive)]);
    // With waiting, it gets the role like a caller.
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
fn hanging_up_ends_everyone_and_refuses_the_rest() {
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
    assert_eq!(bench.step(a), Action::Completed(Outcome::Ended), "when its recv returns");
    assert_eq!(bench.machine.outstanding(), 0);
    assert_eq!(bench.woken(), []);
}

#[test]
fn hanging_up_ends_a_muxer_that_waits_for_a_tag_and_one_that_puts_its_tag() {
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
    assert_eq!(other.queue(tagged.id, 5), SendTurn::HungUp);
    assert_eq!(other.sent_since(x, Ok(()), 0), Action::Completed(Outcome::Ended));
    assert_eq!(other.machine.outstanding(), 0);
}

/// A proc that a program starts by itself may be late: nobody would be left to stop it.
#[test]
fn procs_that_come_after_the_hang_up_leave_at_once() {
    let mut bench = Bench::new(WIDE);
    bench.machine.hang_up();
    assert!(bench.machine.request_receive_proc());
    assert!(bench.machine.request_send_proc());
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Denied);
    assert_eq!(bench.send_proc_work(), SendProcAction::Stop);
    assert_eq!(bench.woken(), []);
}
