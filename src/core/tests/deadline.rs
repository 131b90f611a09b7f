//! Calls that are not waited for longer than until some time.

use super::*;

#[test]
fn a_late_sleeper_is_told_and_its_tag_is_held_until_the_reply_comes() {
    let mut bench = Bench::with_tags(2);
    let (a, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    let (b, tag, step) = bench.timed_call();
    assert_eq!(step, Action::Sleep);
    bench.expire(b);
    assert_eq!(bench.woken(), [(b.0, Wakeup::Completed(Outcome::TimedOut))]);
    assert_eq!(bench.machine.outstanding(), 2, "the server may answer yet");
    assert_eq!(bench.begin(Some(0)), Err(BeginError::NoTag));
    assert_eq!(bench.deliver(tag, 7), Some(7), "an orphan");
    assert_eq!(bench.machine.outstanding(), 1);
    assert_eq!(bench.step(a), Action::Receive);
}

#[test]
fn the_reply_of_a_late_call_can_come_before_its_owner_is_told() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (b, tag, _) = bench.timed_call();
    bench.machine.handle_deadline_asleep(b);
    assert_eq!(bench.machine.handle_message(Some(tag), 7, |_, _| ()), Some(7), "an orphan");
    let (c, _, _) = bench.timed_call();
    assert_ne!(b, c, "its number is in use until it is told");
    bench.gather();
    assert_eq!(bench.woken(), [(b.0, Wakeup::Completed(Outcome::TimedOut))]);
    let (d, tag, _) = bench.timed_call();
    bench.machine.handle_deadline_asleep(d);
    bench.machine.handle_disconnect();
    bench.gather();
    assert_eq!(bench.woken()[0], (d.0, Wakeup::Completed(Outcome::TimedOut)));
    assert_eq!(bench.deliver(tag, 8), Some(8));
}

/// Between being told and waking, its clock may ring: nobody else may have its number yet.
#[test]
fn the_number_of_one_with_a_clock_is_its_own_until_it_has_woken() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (a, tag, _) = bench.timed_call();
    bench.deliver(tag, 7);
    assert_eq!(bench.woken(), [(a.0, Wakeup::Completed(Outcome::Reply(7)))]);
    let (b, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep);
    assert_ne!(a, b);
    bench.expire(a);
    assert_eq!(bench.woken(), []);
    assert!(!bench.machine.is_idle());
    bench.machine.ack_wake(a);
    assert_eq!(bench.call().id, a);
}

/// The same for one that is told that it is late: it may have been late before it went to sleep, while
/// another was sending its request, and its clock rings at once.
#[test]
fn the_number_of_a_late_one_is_its_own_until_it_has_woken() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (b, tag, _) = bench.timed_call();
    bench.expire(b);
    assert_eq!(bench.woken(), [(b.0, Wakeup::Completed(Outcome::TimedOut))]);
    assert_eq!(bench.deliver(tag, 7), Some(7), "an orphan");
    let (c, _, _) = bench.timed_call();
    assert_ne!(b, c);
    bench.expire(b);
    assert_eq!(bench.woken(), []);
    bench.machine.ack_wake(b);
    assert_eq!(bench.waiting_call().0, b);

    // The reply may as well come after it has woken.
    let (d, tag, _) = bench.timed_call();
    bench.expire(d);
    assert_eq!(bench.woken(), [(d.0, Wakeup::Completed(Outcome::TimedOut))]);
    bench.machine.ack_wake(d);
    assert_ne!(bench.waiting_call().0, d);
    assert_eq!(bench.deliver(tag, 8), Some(8));
    assert_eq!(bench.waiting_call().0, d);
}

#[test]
fn one_with_a_deadline_does_not_send_for_others() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (a, _) = bench.sent_call();
    bench.machine.mark_has_deadline(a);
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), SendTurn::Wait);
    assert_eq!(bench.sent(a, Ok(())), Action::Sleep);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
}

#[test]
fn who_waits_for_a_tag_does_not_wait_in_recv_for_what_may_never_come() {
    let mut bench = Bench::with_tags(1);
    let (a, _, _) = bench.timed_call();
    assert_eq!(bench.nap(a), Action::Sleep);
    let b = bench.begin(None).unwrap().id;
    assert_eq!(bench.step(b), Action::Sleep, "the other looks for both");
    bench.expire(a);
    assert_eq!(
        bench.woken(),
        [
            (b.0, Wakeup::Completed(Outcome::AllTagsAbandoned)),
            (a.0, Wakeup::Completed(Outcome::TimedOut))
        ]
    );
    let mut bench = Bench::with_tags(2);
    let (a, _) = bench.started_call(1);
    bench.machine.abandon(a);
    let (b, _) = bench.sent_call();
    let c = bench.begin(None).unwrap().id;
    assert_eq!(bench.step(c), Action::Sleep, "one tag is held, the other on its way");
    assert_eq!(bench.sent(b, Err(3)), Action::Completed(Outcome::Failed(3)));
    assert_eq!(bench.woken(), [(c.0, Wakeup::Tag(1))]);
}

#[test]
fn a_late_muxer_passes_the_role_on() {
    let mut bench = Bench::new(WIDE);
    let (a, _, step) = bench.timed_call();
    assert_eq!(step, Action::Receive, "there is nobody else");
    let (b, _, _) = bench.timed_call();
    let (c, _, _) = bench.timed_call();
    assert_eq!(bench.time_out(a), Action::Completed(Outcome::TimedOut));
    assert_eq!(bench.woken(), [(c.0, Wakeup::Receive)]);
    assert_eq!(bench.time_out(c), Action::Completed(Outcome::TimedOut));
    assert_eq!(bench.woken(), [(b.0, Wakeup::Receive)]);
    assert_eq!(bench.machine.stats().errors, 2);
}

#[test]
fn one_without_a_deadline_receives_rather_than_one_with() {
    let mut bench = Bench::new(WIDE);
    let (a, _, step) = bench.timed_call();
    assert_eq!(step, Action::Receive);
    let (b, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep, "a is in recv");
    bench.timed_call();
    assert_eq!(bench.step(a), Action::Sleep, "after the next message it gives the role away");
    assert_eq!(bench.woken(), [(b.0, Wakeup::Receive)]);
}

#[test]
fn one_that_naps_gives_the_role_to_whoever_can_receive_properly() {
    let mut bench = Bench::new(WIDE);
    let (a, tag, _) = bench.timed_call();
    assert_eq!(bench.nap(a), Action::Sleep);
    let (_, _, step) = bench.timed_call();
    assert_eq!(step, Action::Sleep, "it could do no better");
    let (c, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    bench.machine.end_backoff(a);
    bench.gather();
    assert_eq!(bench.woken(), [], "and sleeps until it is told");
    bench.deliver(tag, 7);
    assert_eq!(bench.woken(), [(a.0, Wakeup::Completed(Outcome::Reply(7)))]);
    assert_eq!(bench.step(c), Action::Receive);
}

#[test]
fn a_nap_ends_with_the_role() {
    let mut bench = Bench::new(WIDE);
    let (a, tag, _) = bench.timed_call();
    assert_eq!(bench.nap(a), Action::Sleep);
    bench.machine.end_backoff(a);
    bench.gather();
    assert_eq!(bench.woken(), [(a.0, Wakeup::Receive)]);
    assert_eq!(bench.step(a), Action::Receive);
    bench.deliver(tag, 7);
    assert_eq!(bench.nap(a), Action::Completed(Outcome::Reply(7)));
}

#[test]
fn one_that_is_late_in_its_nap_passes_the_role_on() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.timed_call();
    assert_eq!(bench.nap(a), Action::Sleep);
    let (b, _, _) = bench.timed_call();
    bench.expire(a);
    assert_eq!(
        bench.woken(),
        [(a.0, Wakeup::Completed(Outcome::TimedOut)), (b.0, Wakeup::Receive)]
    );
}

#[test]
fn a_non_blocking_call_looks_itself_while_another_naps() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.timed_call();
    assert_eq!(bench.nap(a), Action::Sleep);
    let (b, tag) = bench.started_call(1);
    assert_eq!(bench.can_finish(b, false), CollectAction::Pending, "the other will look again");
    assert_eq!(bench.can_finish(b, true), CollectAction::Poll);
    bench.deliver(tag, 7);
    assert_eq!(bench.machine.handle_polled(b), CollectAction::Reply(7));
    bench.gather();
    assert_eq!(bench.woken(), [(a.0, Wakeup::Receive)], "the role is back");
}

#[test]
fn a_request_in_the_queue_is_taken_back_and_leaves_no_tag_behind() {
    let mut bench = Bench::with_tags(2);
    let (a, _) = bench.sent_call();
    let b = bench.call();
    bench.machine.mark_has_deadline(b.id);
    assert_eq!(bench.queue(b.id, 20), SendTurn::Wait);
    let c = bench.begin(None).unwrap();
    assert_eq!(bench.step(c.id), Action::Sleep, "no tag");
    bench.expire(b.id);
    assert_eq!(
        bench.woken(),
        [(b.id.0, Wakeup::Completed(Outcome::TimedOut)), (c.id.0, Wakeup::Tag(b.tag.unwrap()))]
    );
    assert_eq!(bench.sent(a, Ok(())), Action::Receive);
    assert_eq!(bench.woken(), [], "nothing is left in the queue");
}

#[test]
fn a_request_that_another_is_sending_is_waited_for() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    let b = bench.call();
    bench.machine.mark_has_deadline(b.id);
    assert_eq!(bench.queue(b.id, 20), SendTurn::Wait);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(b.id, 20));
    bench.expire(b.id);
    assert_eq!(bench.woken(), [], "the proc has the request");
    bench.proc_sent(b.id, Ok(()));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::TimedOut))]);
    assert_eq!(bench.deliver(b.tag.unwrap(), 7), Some(7));
    let c = bench.call();
    bench.machine.mark_has_deadline(c.id);
    assert_eq!(bench.queue(c.id, 30), SendTurn::Wait);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(c.id, 30));
    bench.expire(c.id);
    bench.deliver(c.tag.unwrap(), 8);
    bench.proc_sent(c.id, Ok(()));
    assert_eq!(
        bench.woken(),
        [(c.id.0, Wakeup::Completed(Outcome::Reply(8)))],
        "it came in time after all"
    );
}

#[test]
fn one_that_waits_for_a_tag_leaves_without() {
    let mut bench = Bench::with_tags(1);
    let (a, tag, _) = bench.waiting_call();
    let b = bench.begin(None).unwrap().id;
    bench.machine.mark_has_deadline(b);
    assert_eq!(bench.step(b), Action::Sleep);
    bench.expire(b);
    assert_eq!(bench.woken(), [(b.0, Wakeup::Completed(Outcome::TimedOut))]);
    bench.deliver(tag, 7);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(7)));
    assert_eq!(bench.woken(), []);
    assert_eq!(bench.machine.outstanding(), 0);
}

#[test]
fn when_every_tag_is_held_by_late_calls_there_is_nothing_to_wait_for() {
    let mut bench = Bench::with_tags(1);
    let (a, _, step) = bench.timed_call();
    assert_eq!(step, Action::Receive);
    let b = bench.begin(None).unwrap().id;
    assert_eq!(bench.step(b), Action::Sleep);
    assert_eq!(bench.time_out(a), Action::Completed(Outcome::TimedOut));
    assert_eq!(bench.woken(), [(b.0, Wakeup::Completed(Outcome::AllTagsAbandoned))]);
    assert_eq!(bench.begin(None), Err(BeginError::NoTag));
}

/// It came while the caller was looking, found the role taken, and sleeps.
#[test]
fn who_would_nap_leaves_the_role_to_a_receive_proc() {
    let mut bench = Bench::new(WIDE);
    let (id, tag, step) = bench.timed_call();
    assert_eq!(step, Action::Receive);
    assert!(bench.machine.request_receive_proc());
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Wait);
    assert_eq!(bench.nap(id), Action::Sleep);
    assert_eq!(bench.woken(), [(RECEIVE_PROC, Wakeup::Work)]);
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    // Its nap is over, and another receives.
    bench.machine.end_backoff(id);
    bench.gather();
    assert_eq!(bench.woken(), []);
    assert_eq!(bench.deliver(tag, 3), None);
    assert_eq!(bench.woken(), [(id.0, Wakeup::Completed(Outcome::Reply(3)))]);
}

#[test]
fn polling_receiver_takes_the_free_turn_instead_of_pausing() {
    let mut bench = Bench::new(WIDE);
    bench.started_call(70);
    assert!(bench.machine.request_send_proc());
    let a = bench.call();
    assert_eq!(bench.queue(a.id, 1), SendTurn::Wait);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(a.id, 1));
    let b = bench.call();
    bench.machine.mark_has_deadline(b.id);
    assert_eq!(bench.queue(b.id, 2), SendTurn::Wait);
    // The receive proc cannot be started, so the send proc stops too.
    assert!(bench.machine.request_receive_proc());
    bench.machine.stop_procs();
    bench.machine.receive_proc_gone();
    bench.gather();
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Receive)]);
    assert_eq!(bench.step(b.id), Action::Receive);
    // During the poll of b, the turn becomes free.
    bench.proc_sent(a.id, Ok(()));
    assert_eq!(bench.send_proc_work(), SendProcAction::Stop);
    assert_eq!(bench.nap(b.id), Action::Turn(2));
    assert_eq!(bench.woken(), [(a.id.0, Wakeup::Receive)]);
}
