//! Non-blocking calls.

use super::*;

#[test]
fn a_future_is_woken_by_its_reply() {
    let mut bench = Bench::new(WIDE);
    let (_, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    let (b, tag) = bench.started_call(1);
    let (c, _) = bench.started_call(2);
    assert_eq!(bench.can_finish(b, true), CollectAction::Pending);
    assert!(
        bench.machine.register_future(b, true)
            && bench.machine.register_future(b, true)
            && bench.machine.register_future(c, true)
    );
    bench.deliver(tag, 7);
    assert_eq!(std::mem::take(&mut bench.looked), [b]);
    assert!(!bench.machine.register_future(b, true), "the call has ended");
    assert_eq!(bench.can_finish(b, true), CollectAction::Reply(7));
    bench.end();
    assert_eq!(bench.looked, [c]);
}

#[test]
fn futures_are_woken_when_the_receiver_leaves() {
    let mut bench = Bench::new(WIDE);
    let (a, tag, _) = bench.waiting_call();
    let (b, _) = bench.started_call(1);
    let (c, _) = bench.started_call(2);
    assert!(bench.machine.register_future(b, true) && bench.machine.register_future(c, true));
    bench.deliver(tag, 7);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(7)));
    assert_eq!(std::mem::take(&mut bench.looked), [b, c]);
    assert!(!bench.machine.register_future(b, false), "the future must poll at once");
    assert_eq!(bench.can_finish(b, false), CollectAction::Stuck);
    assert_eq!(bench.can_finish(c, true), CollectAction::Poll);
    assert!(bench.machine.register_future(c, true));
    assert_eq!(bench.poll_ends(c), CollectAction::Pending);
    assert_eq!(bench.looked, [], "a call that has polled is not woken");
}

#[test]
fn an_abandoned_future_is_not_woken() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (b, _) = bench.started_call(1);
    let (c, tag) = bench.started_call(2);
    assert!(bench.machine.register_future(b, true) && bench.machine.register_future(c, true));
    bench.machine.abandon(b);
    assert_eq!(bench.machine.handle_message(Some(tag), 7, |_, _| ()), None);
    assert_eq!(bench.machine.abandon(c), Some(7), "before the future was woken");
    bench.end();
    assert_eq!(bench.looked, []);
}

#[test]
fn a_call_is_pending_while_another_caller_receives() {
    let mut bench = Bench::new(WIDE);
    let (muxer, tag, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    let (a, tag_a) = bench.started_call(5);
    // The original returns "finished, no reply" here.
    assert_eq!(bench.can_finish(a, true), CollectAction::Pending);
    assert_eq!(bench.deliver(tag_a, 9), None);
    assert_eq!(bench.arrived, [(5, 9)]);
    assert_eq!(bench.can_finish(a, true), CollectAction::Reply(9));
    bench.deliver(tag, 1);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(1)));
}

#[test]
fn a_poll_receives_messages_for_all_calls() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a) = bench.started_call(1);
    let (b, tag_b) = bench.started_call(2);
    assert_eq!(bench.can_finish(a, true), CollectAction::Poll);
    let (c, tag_c, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep, "the role is in use for a poll");
    bench.deliver(tag_b, 2);
    assert_eq!(bench.machine.handle_polled(a), CollectAction::Poll);
    bench.deliver(tag_c, 3);
    assert_eq!(bench.machine.handle_polled(a), CollectAction::Poll);
    bench.deliver(tag_a, 1);
    assert_eq!(bench.machine.handle_polled(a), CollectAction::Reply(1));
    bench.gather();
    assert_eq!(bench.woken(), [(c.0, Wakeup::Completed(Outcome::Reply(3)))]);
    assert_eq!(bench.can_finish(b, true), CollectAction::Reply(2));
}

#[test]
fn a_poll_hands_the_role_to_a_sleeper() {
    let mut bench = Bench::new(WIDE);
    let (a, _) = bench.started_call(1);
    assert_eq!(bench.can_finish(a, true), CollectAction::Poll);
    let (b, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep);
    assert_eq!(bench.poll_ends(a), CollectAction::Pending);
    assert_eq!(bench.woken(), [(b.0, Wakeup::Receive)]);
    assert_eq!(bench.can_finish(a, true), CollectAction::Pending);
}

#[test]
fn the_end_of_the_connection_finishes_nonblocking_calls() {
    let mut bench = Bench::new(WIDE);
    let (a, _) = bench.started_call(1);
    let (b, tag_b) = bench.started_call(2);
    assert_eq!(bench.can_finish(a, true), CollectAction::Poll);
    bench.deliver(tag_b, 2);
    bench.end();
    assert_eq!(bench.poll_ends(a), CollectAction::Ended);
    assert_eq!(
        bench.can_finish(b, true),
        CollectAction::Reply(2),
        "the reply arrived before the end"
    );
    assert_eq!(bench.machine.outstanding(), 0);
}

#[test]
fn a_stuck_call_is_reported_and_keeps_its_tag() {
    let mut bench = Bench::with_tags(2);
    let (a, tag_a) = bench.started_call(1);
    assert_eq!(bench.can_finish(a, false), CollectAction::Stuck);
    assert_eq!(bench.machine.outstanding(), 1, "its reply may still arrive");
    let (b, tag_b, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    assert_ne!(tag_b, tag_a);
    assert_eq!(bench.deliver(tag_a, 9), Some(9), "an orphan now");
    assert_eq!(bench.machine.outstanding(), 1);
    bench.deliver(tag_b, 1);
    assert_eq!(bench.step(b), Action::Completed(Outcome::Reply(1)));
}

#[test]
fn the_end_of_the_connection_frees_abandoned_tags() {
    let mut bench = Bench::with_tags(1);
    let (a, _) = bench.started_call(1);
    assert_eq!(bench.machine.abandon(a), None);
    assert_eq!(bench.begin(Some(2)), Err(BeginError::NoTag));
    bench.end();
    assert!(bench.begin(Some(2)).is_ok());
}

#[test]
fn abandoning_a_completed_call_returns_its_reply() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a) = bench.started_call(1);
    bench.deliver(tag_a, 9);
    assert_eq!(bench.machine.abandon(a), Some(9));
}

#[test]
fn with_a_receive_proc_calls_do_not_poll() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_receive_proc();
    let (a, tag_a) = bench.started_call(1);
    assert_eq!(bench.can_finish(a, true), CollectAction::Pending, "the proc is starting");
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    assert_eq!(bench.can_finish(a, true), CollectAction::Pending);
    bench.deliver(tag_a, 3);
    assert_eq!(bench.can_finish(a, true), CollectAction::Reply(3));
}

#[test]
fn tag_waiters_fail_when_all_tags_are_abandoned() {
    let mut bench = Bench::with_tags(2);
    let (a, tag_a) = bench.started_call(1);
    let (b, _) = bench.started_call(2);
    let muxer = bench.begin(None).unwrap().id;
    assert_eq!(bench.step(muxer), Action::Receive);
    let waiting = bench.begin(None).unwrap().id;
    assert_eq!(bench.step(waiting), Action::Sleep);
    bench.machine.abandon(a);
    bench.gather();
    assert_eq!(bench.woken(), [], "b's reply may free a tag");
    bench.machine.abandon(b);
    bench.gather();
    assert_eq!(bench.woken(), [(waiting.0, Wakeup::Completed(Outcome::AllTagsAbandoned))]);
    assert_eq!(bench.begin(None), Err(BeginError::NoTag));
    // The receiver gets the tag when the reply to the abandoned call arrives.
    assert_eq!(bench.deliver(tag_a, 9), Some(9));
    assert_eq!(bench.step(muxer), Action::Tagged(tag_a));
}

#[test]
fn the_ready_fd_follows_the_number_of_finishable_calls() {
    let mut bench = Bench::new(WIDE);
    assert!(!bench.machine.report_ready(true));
    let (a, tag_a) = bench.started_call(1);
    let (b, tag_b) = bench.started_call(2);
    assert!(!bench.machine.ready_fd_is_stale());
    bench.deliver(tag_a, 1);
    assert!(bench.machine.ready_fd_is_stale());
    assert!(bench.machine.report_ready(true));
    bench.deliver(tag_b, 2);
    assert!(!bench.machine.ready_fd_is_stale(), "reported already");
    assert_eq!(bench.can_finish(a, false), CollectAction::Reply(1));
    assert!(!bench.machine.ready_fd_is_stale(), "b can still finish");
    assert_eq!(bench.machine.abandon(b), Some(2));
    assert!(bench.machine.ready_fd_is_stale());
    assert!(!bench.machine.report_ready(true));
    let (c, _) = bench.started_call(3);
    bench.end();
    assert!(bench.machine.report_ready(true), "an ended call can finish too");
    assert_eq!(bench.can_finish(c, false), CollectAction::Ended);
    assert!(!bench.machine.report_ready(true));
}
