//! Non-blocking calls.

use super::*;

#[test]
fn a_task_looks_when_its_reply_is_there() {
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
    assert!(!bench.machine.register_future(b, true), "it is over");
    assert_eq!(bench.can_finish(b, true), CollectAction::Reply(7));
    bench.end();
    assert_eq!(bench.looked, [c]);
}

#[test]
fn tasks_look_when_nobody_receives_any_more() {
    let mut bench = Bench::new(WIDE);
    let (a, tag, _) = bench.waiting_call();
    let (b, _) = bench.started_call(1);
    let (c, _) = bench.started_call(2);
    assert!(bench.machine.register_future(b, true) && bench.machine.register_future(c, true));
    bench.deliver(tag, 7);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(7)));
    assert_eq!(std::mem::take(&mut bench.looked), [b, c]);
    assert!(!bench.machine.register_future(b, false), "it was too late for that: it looks at once");
    assert_eq!(bench.can_finish(b, false), CollectAction::Stuck);
    assert_eq!(bench.can_finish(c, true), CollectAction::Poll);
    assert!(bench.machine.register_future(c, true));
    assert_eq!(bench.poll_ends(c), CollectAction::Pending);
    assert_eq!(bench.looked, [], "one that has looked itself has no need to look again");
}

#[test]
fn a_task_that_gives_up_is_not_told() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (b, _) = bench.started_call(1);
    let (c, tag) = bench.started_call(2);
    assert!(bench.machine.register_future(b, true) && bench.machine.register_future(c, true));
    bench.machine.abandon(b);
    assert_eq!(bench.machine.handle_message(Some(tag), 7, |_, _| ()), None);
    assert_eq!(bench.machine.abandon(c), Some(7), "before it could be told");
    bench.end();
    assert_eq!(bench.looked, []);
}

#[test]
fn pending_while_somebody_else_receives() {
    let mut bench = Bench::new(WIDE);
    let (muxer, tag, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    let (a, tag_a) = bench.started_call(5);
    // The original answers "finished, no reply" here.
    assert_eq!(bench.can_finish(a, true), CollectAction::Pending);
    assert_eq!(bench.deliver(tag_a, 9), None);
    assert_eq!(bench.arrived, [(5, 9)]);
    assert_eq!(bench.can_finish(a, true), CollectAction::Reply(9));
    bench.deliver(tag, 1);
    assert_eq!(bench.step(muxer), Action::Completed(Outcome::Reply(1)));
}

#[test]
fn looking_takes_what_is_there_for_whomever_it_is() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a) = bench.started_call(1);
    let (b, tag_b) = bench.started_call(2);
    assert_eq!(bench.can_finish(a, true), CollectAction::Poll);
    let (c, tag_c, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep, "the role is being used to look");
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
fn one_that_looks_gives_the_role_to_a_sleeper() {
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
fn the_end_finishes_it_without_a_reply() {
    let mut bench = Bench::new(WIDE);
    let (a, _) = bench.started_call(1);
    let (b, tag_b) = bench.started_call(2);
    assert_eq!(bench.can_finish(a, true), CollectAction::Poll);
    bench.deliver(tag_b, 2);
    bench.end();
    assert_eq!(bench.poll_ends(a), CollectAction::Ended);
    assert_eq!(bench.can_finish(b, true), CollectAction::Reply(2), "it came before the end");
    assert_eq!(bench.machine.outstanding(), 0);
}

#[test]
fn one_that_can_never_finish_says_so_and_its_tag_is_held() {
    let mut bench = Bench::with_tags(2);
    let (a, tag_a) = bench.started_call(1);
    assert_eq!(bench.can_finish(a, false), CollectAction::Stuck);
    assert_eq!(bench.machine.outstanding(), 1, "its reply may come yet");
    let (b, tag_b, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    assert_ne!(tag_b, tag_a);
    assert_eq!(bench.deliver(tag_a, 9), Some(9), "an orphan now");
    assert_eq!(bench.machine.outstanding(), 1);
    bench.deliver(tag_b, 1);
    assert_eq!(bench.step(b), Action::Completed(Outcome::Reply(1)));
}

#[test]
fn a_tag_given_up_is_free_when_the_connection_ends() {
    let mut bench = Bench::with_tags(1);
    let (a, _) = bench.started_call(1);
    assert_eq!(bench.machine.abandon(a), None);
    assert_eq!(bench.begin(Some(2)), Err(BeginError::NoTag));
    bench.end();
    assert!(bench.begin(Some(2)).is_ok());
}

#[test]
fn giving_up_an_answered_call_hands_the_reply_out() {
    let mut bench = Bench::new(WIDE);
    let (a, tag_a) = bench.started_call(1);
    bench.deliver(tag_a, 9);
    assert_eq!(bench.machine.abandon(a), Some(9));
}

#[test]
fn under_a_receive_proc_nobody_looks() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_receive_proc();
    let (a, tag_a) = bench.started_call(1);
    assert_eq!(bench.can_finish(a, true), CollectAction::Pending, "the proc is on its way");
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    assert_eq!(bench.can_finish(a, true), CollectAction::Pending);
    bench.deliver(tag_a, 3);
    assert_eq!(bench.can_finish(a, true), CollectAction::Reply(3));
}

#[test]
fn when_all_tags_are_held_there_is_nothing_to_wait_for() {
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
    // The one that receives gets the tag of a reply that comes after all.
    assert_eq!(bench.deliver(tag_a, 9), Some(9));
    assert_eq!(bench.step(muxer), Action::Tagged(tag_a));
}

#[test]
fn it_is_known_whether_some_call_can_finish() {
    let mut bench = Bench::new(WIDE);
    assert!(!bench.machine.report_ready(true));
    let (a, tag_a) = bench.started_call(1);
    let (b, tag_b) = bench.started_call(2);
    assert!(!bench.machine.ready_fd_is_stale());
    bench.deliver(tag_a, 1);
    assert!(bench.machine.ready_fd_is_stale());
    assert!(bench.machine.report_ready(true));
    bench.deliver(tag_b, 2);
    assert!(!bench.machine.ready_fd_is_stale(), "told already");
    assert_eq!(bench.can_finish(a, false), CollectAction::Reply(1));
    assert!(!bench.machine.ready_fd_is_stale(), "b still can");
    assert_eq!(bench.machine.abandon(b), Some(2));
    assert!(bench.machine.ready_fd_is_stale());
    assert!(!bench.machine.report_ready(true));
    let (c, _) = bench.started_call(3);
    bench.end();
    assert!(bench.machine.report_ready(true), "an ended call can finish too");
    assert_eq!(bench.can_finish(c, false), CollectAction::Ended);
    assert!(!bench.machine.report_ready(true));
}
