//! Calls with a deadline.

use super::*;

#[test]
fn an_expired_sleeper_is_woken_and_its_tag_stays_in_use_until_the_reply() {
    let mut bench = Bench::with_tags(2);
    let (a, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    let (b, tag, step) = bench.timed_call();
    assert_eq!(step, Action::Sleep);
    bench.expire(b);
    assert_eq!(bench.woken(), [(b.0, Wakeup::Completed(Outcome::TimedOut))]);
    assert_eq!(bench.machine.outstanding(), 2, "the server may still reply");
    assert_eq!(bench.begin(Some(0)), Err(BeginError::NoTag));
    assert_eq!(bench.deliver(tag, 7), Some(7), "an orphan");
    assert_eq!(bench.machine.outstanding(), 1);
    assert_eq!(bench.step(a), Action::Receive);
}

#[test]
fn a_reply_before_the_wakeup_of_an_expired_call_is_an_orphan() {
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

/// Between the wake-up and its acknowledgement the owner may report expiry, so its id must not be reused.
#[test]
fn the_id_of_a_timed_call_is_not_reused_until_it_acknowledges() {
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

/// The same for an owner that is woken because its deadline has passed. The deadline may have passed before the
/// owner went to sleep, while another sender was sending its request; it then reports expiry at once.
#[test]
fn the_id_of_an_expired_call_is_not_reused_until_it_acknowledges() {
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

    // The reply may also arrive after the acknowledgement.
    let (d, tag, _) = bench.timed_call();
    bench.expire(d);
    assert_eq!(bench.woken(), [(d.0, Wakeup::Completed(Outcome::TimedOut))]);
    bench.machine.ack_wake(d);
    assert_ne!(bench.waiting_call().0, d);
    assert_eq!(bench.deliver(tag, 8), Some(8));
    assert_eq!(bench.waiting_call().0, d);
}

#[test]
fn a_caller_with_a_deadline_does_not_send_by_proxy() {
    let mut bench = Bench::new(WIDE);
    bench.waiting_call();
    let (a, _) = bench.sent_call();
    bench.machine.mark_has_deadline(a);
    let b = bench.call();
    assert_eq!(bench.queue(b.id, 20), TurnGrant::Wait);
    assert_eq!(bench.sent(a, Ok(())), Action::Sleep);
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Turn(20))]);
}

#[test]
fn a_tag_waiter_does_not_receive_when_no_reply_is_certain() {
    let mut bench = Bench::with_tags(1);
    let (a, _, _) = bench.timed_call();
    assert_eq!(bench.nap(a), Action::Sleep);
    let b = bench.begin(None).unwrap().id;
    assert_eq!(bench.step(b), Action::Sleep, "the other caller polls for both");
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
    assert_eq!(bench.step(c), Action::Sleep, "one tag is abandoned, the other is in send");
    assert_eq!(bench.sent(b, Err(3)), Action::Completed(Outcome::Failed(3)));
    assert_eq!(bench.woken(), [(c.0, Wakeup::Tag(1))]);
}

#[test]
fn an_expired_receiver_hands_the_role_over() {
    let mut bench = Bench::new(WIDE);
    let (a, _, step) = bench.timed_call();
    assert_eq!(step, Action::Receive, "no other caller is waiting");
    let (b, _, _) = bench.timed_call();
    let (c, _, _) = bench.timed_call();
    assert_eq!(bench.time_out(a), Action::Completed(Outcome::TimedOut));
    assert_eq!(bench.woken(), [(c.0, Wakeup::Receive)]);
    assert_eq!(bench.time_out(c), Action::Completed(Outcome::TimedOut));
    assert_eq!(bench.woken(), [(b.0, Wakeup::Receive)]);
    assert_eq!(bench.machine.stats().errors, 2);
}

#[test]
fn a_caller_without_a_deadline_is_preferred_as_receiver() {
    let mut bench = Bench::new(WIDE);
    let (a, _, step) = bench.timed_call();
    assert_eq!(step, Action::Receive);
    let (b, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Sleep, "a is in recv");
    bench.timed_call();
    assert_eq!(bench.step(a), Action::Sleep, "it hands the role over after the next message");
    assert_eq!(bench.woken(), [(b.0, Wakeup::Receive)]);
}

#[test]
fn a_polling_receiver_yields_to_a_blocking_one() {
    let mut bench = Bench::new(WIDE);
    let (a, tag, _) = bench.timed_call();
    assert_eq!(bench.nap(a), Action::Sleep);
    let (_, _, step) = bench.timed_call();
    assert_eq!(step, Action::Sleep, "it would poll, too");
    let (c, _, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    bench.machine.end_backoff(a);
    bench.gather();
    assert_eq!(bench.woken(), [], "it sleeps until it is woken");
    bench.deliver(tag, 7);
    assert_eq!(bench.woken(), [(a.0, Wakeup::Completed(Outcome::Reply(7)))]);
    assert_eq!(bench.step(c), Action::Receive);
}

#[test]
fn the_end_of_the_backoff_restores_the_role() {
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
fn a_receiver_that_expires_in_its_backoff_hands_the_role_over() {
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
fn a_nonblocking_call_polls_during_a_backoff() {
    let mut bench = Bench::new(WIDE);
    let (a, _, _) = bench.timed_call();
    assert_eq!(bench.nap(a), Action::Sleep);
    let (b, tag) = bench.started_call(1);
    assert_eq!(
        bench.can_finish(b, false),
        CollectAction::Pending,
        "the polling receiver polls again"
    );
    assert_eq!(bench.can_finish(b, true), CollectAction::Poll);
    bench.deliver(tag, 7);
    assert_eq!(bench.machine.handle_polled(b), CollectAction::Reply(7));
    bench.gather();
    assert_eq!(bench.woken(), [(a.0, Wakeup::Receive)], "the polling receiver has the role again");
}

#[test]
fn an_expired_queued_request_is_withdrawn_and_frees_its_tag() {
    let mut bench = Bench::with_tags(2);
    let (a, _) = bench.sent_call();
    let b = bench.call();
    bench.machine.mark_has_deadline(b.id);
    assert_eq!(bench.queue(b.id, 20), TurnGrant::Wait);
    let c = bench.begin(None).unwrap();
    assert_eq!(bench.step(c.id), Action::Sleep, "no tag is free");
    bench.expire(b.id);
    assert_eq!(
        bench.woken(),
        [(b.id.0, Wakeup::Completed(Outcome::TimedOut)), (c.id.0, Wakeup::Tag(b.tag.unwrap()))]
    );
    assert_eq!(bench.sent(a, Ok(())), Action::Receive);
    assert_eq!(bench.woken(), [], "the send queue is empty");
}

#[test]
fn an_expired_owner_waits_for_a_proxy_send() {
    let mut bench = Bench::new(WIDE);
    bench.machine.request_send_proc();
    let b = bench.call();
    bench.machine.mark_has_deadline(b.id);
    assert_eq!(bench.queue(b.id, 20), TurnGrant::Wait);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(b.id, 20));
    bench.expire(b.id);
    assert_eq!(bench.woken(), [], "the send proc is sending the request");
    bench.proc_sent(b.id, Ok(()));
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::TimedOut))]);
    assert_eq!(bench.deliver(b.tag.unwrap(), 7), Some(7));
    let c = bench.call();
    bench.machine.mark_has_deadline(c.id);
    assert_eq!(bench.queue(c.id, 30), TurnGrant::Wait);
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
fn an_expired_tag_waiter_leaves_without_a_tag() {
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
fn tag_waiters_fail_when_all_tags_belong_to_expired_calls() {
    let mut bench = Bench::with_tags(1);
    let (a, _, step) = bench.timed_call();
    assert_eq!(step, Action::Receive);
    let b = bench.begin(None).unwrap().id;
    assert_eq!(bench.step(b), Action::Sleep);
    assert_eq!(bench.time_out(a), Action::Completed(Outcome::TimedOut));
    assert_eq!(bench.woken(), [(b.0, Wakeup::Completed(Outcome::AllTagsAbandoned))]);
    assert_eq!(bench.begin(None), Err(BeginError::NoTag));
}

/// The receive proc starts while a caller polls, finds the role taken, and sleeps.
#[test]
fn a_polling_receiver_yields_to_a_receive_proc() {
    let mut bench = Bench::new(WIDE);
    let (id, tag, step) = bench.timed_call();
    assert_eq!(step, Action::Receive);
    assert!(bench.machine.request_receive_proc());
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Wait);
    assert_eq!(bench.nap(id), Action::Sleep);
    assert_eq!(bench.woken(), [(RECEIVE_PROC, Wakeup::Work)]);
    assert_eq!(bench.receive_proc_seat(), ReceiverGrant::Granted);
    // The back-off has ended, and the proc receives.
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
    assert_eq!(bench.queue(a.id, 1), TurnGrant::Wait);
    assert_eq!(bench.send_proc_work(), SendProcAction::Send(a.id, 1));
    let b = bench.call();
    bench.machine.mark_has_deadline(b.id);
    assert_eq!(bench.queue(b.id, 2), TurnGrant::Wait);
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
