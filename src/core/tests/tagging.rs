//! Tags: range, uniqueness, quarantine, and waiting for a free one.

use std::collections::HashSet;

use super::super::tags::{NoTag, OUT_OF_MEMORY, QUARANTINE, TagPool};
use super::*;

#[test]
fn tags_are_in_range_and_unique() {
    // The original's table doubles past maxtag: with 1..255 it hands out 256.
    let range = TagRange { min: 1, max: 255 };
    let mut tags = TagPool::new();
    let mut seen = HashSet::new();
    for owner in 0..254 {
        let tag = tags.allocate(range, owner).unwrap();
        assert!((1..255).contains(&tag), "{tag}");
        assert!(seen.insert(tag), "{tag} twice");
    }
    assert_eq!(tags.allocate(range, 999), Err(NoTag::AllTaken));
    assert_eq!(tags.allocated(), 254);
    tags.free(17);
    assert_eq!(tags.allocate(range, 999), Ok(17));
    assert_eq!(tags.owner(17), Some(999));
}

#[test]
fn an_empty_range_is_an_error() {
    let mut bench = Bench::new(TagRange { min: 5, max: 5 });
    assert_eq!(bench.begin(None), Err(BeginError::EmptyRange));
    bench.set_range(TagRange { min: 6, max: 5 });
    assert_eq!(bench.begin(Some(1)), Err(BeginError::EmptyRange));
    assert_eq!(bench.machine.outstanding(), 0);
}

#[test]
fn a_freed_tag_is_quarantined() {
    let mut tags = TagPool::new();
    let first = tags.allocate(WIDE, 0).unwrap();
    tags.free(first);
    for n in 0..QUARANTINE {
        let tag = tags.allocate(WIDE, 0).unwrap();
        assert_ne!(tag, first, "after {n} others");
        tags.free(tag);
    }
}

#[test]
fn memory_follows_use_not_width() {
    let all = TagRange { min: 0, max: u32::MAX };
    let mut tags = TagPool::new();
    for _ in 0..1_000_000 {
        let tag = tags.allocate(all, 1).unwrap();
        assert!(tag as usize <= QUARANTINE + 1, "tag {tag} though one was ever taken");
        tags.free(tag);
    }
}

#[test]
fn the_highest_range_works() {
    let top = TagRange { min: u32::MAX - 2, max: u32::MAX };
    let mut tags = TagPool::new();
    assert_eq!(tags.allocate(top, 0), Ok(u32::MAX - 2));
    assert_eq!(tags.allocate(top, 1), Ok(u32::MAX - 1));
    assert_eq!(tags.allocate(top, 2), Err(NoTag::AllTaken));
}

#[test]
fn the_range_of_a_9p_version_call_holds_one_tag() {
    let notag = TagRange { min: 65535, max: 65536 };
    let mut tags = TagPool::new();
    assert_eq!(tags.allocate(notag, 1), Ok(65535));
    tags.free(65535);
    let early = tags.allocate(WIDE, 2).unwrap();
    // Later, with a call outstanding.
    assert_eq!(tags.allocate(notag, 3), Ok(65535));
    assert_eq!(tags.owner(early), Some(2));
    tags.free(65535);
    assert_ne!(tags.allocate(WIDE, 4), Ok(early));
    tags.free(early);
    assert_eq!(tags.owner(early), None);
}

/// For any sequence of ranges and replies, a tag never has two owners, and its owner is always known.
#[test]
fn the_range_can_change_while_tags_are_in_use() {
    let ranges = [
        TagRange { min: 0, max: 8 },
        TagRange { min: 4, max: 12 },
        TagRange { min: 65535, max: 65536 },
        TagRange { min: 0, max: 3 },
        TagRange { min: 0, max: 100 },
        TagRange { min: 90, max: 95 },
        TagRange { min: 1000, max: 1004 },
    ];
    let mut tags = TagPool::new();
    let mut held: Vec<(u32, u32)> = Vec::new();
    let mut seed = 42_u64;
    let mut random = move |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    for owner in 0..200_000_u32 {
        let range = ranges[random(ranges.len())];
        if random(2) == 0 && !held.is_empty() {
            let (tag, _) = held.swap_remove(random(held.len()));
            tags.free(tag);
            assert_eq!(tags.owner(tag), None);
        }
        let busy = (range.min..range.max).filter(|t| held.iter().any(|(h, _)| h == t)).count();
        match tags.allocate(range, owner) {
            Ok(tag) => {
                assert!((range.min..range.max).contains(&tag), "{tag} of {range:?}");
                assert!(held.iter().all(|&(h, _)| h != tag), "{tag} twice");
                held.push((tag, owner));
            }
            Err(NoTag::AllTaken) => assert_eq!(busy as u32, range.max - range.min),
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(tags.allocated(), held.len());
        for &(tag, owner) in &held {
            assert_eq!(tags.owner(tag), Some(owner));
        }
        tags.free(5000);
    }
}

#[test]
fn a_tag_waiter_receives_if_no_other_caller_does() {
    let mut bench = Bench::with_tags(1);
    let (a, tag_a) = bench.started_call(1);
    let waiting = bench.begin(None).unwrap();
    assert_eq!(waiting.tag, None);
    assert_eq!(bench.step(waiting.id), Action::Receive);
    bench.deliver(tag_a, 9);
    assert_eq!(
        bench.step(waiting.id),
        Action::Tagged(tag_a),
        "freed on arrival, not on collection"
    );
    assert_eq!(bench.can_finish(a, false), CollectAction::Reply(9));
    assert_eq!(bench.queue(waiting.id, 5), TurnGrant::Granted(5));
    assert_eq!(bench.sent(waiting.id, Ok(())), Action::Receive, "the role was free");
}

#[test]
fn tag_waiters_are_served_in_order() {
    let mut bench = Bench::with_tags(1);
    let (a, tag, step) = bench.waiting_call();
    assert_eq!(step, Action::Receive);
    let b = bench.begin(None).unwrap();
    assert_eq!(bench.step(b.id), Action::Sleep);
    let c = bench.begin(None).unwrap();
    assert_eq!(bench.step(c.id), Action::Sleep);
    assert_eq!(bench.begin(Some(1)), Err(BeginError::NoTag));
    bench.deliver(tag, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
    // No caller receives until b, which will, has been sent.
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Tag(tag))]);
    assert_eq!(bench.begin(Some(1)), Err(BeginError::NoTag), "b has it");
    assert_eq!(bench.machine.stats().tag_waits, 2);
}

#[test]
fn the_end_of_the_connection_frees_tags_for_waiters() {
    let mut bench = Bench::with_tags(2);
    let (a, _, _) = bench.waiting_call();
    let (b, _, _) = bench.waiting_call();
    let c = bench.begin(None).unwrap();
    assert_eq!(bench.step(c.id), Action::Sleep);
    bench.end();
    let woken = bench.woken();
    assert_eq!(woken[0], (b.0, Wakeup::Completed(Outcome::Ended)));
    assert!(matches!(woken[1], (who, Wakeup::Tag(_)) if who == c.id.0));
    assert_eq!(bench.step(a), Action::Completed(Outcome::Ended));
}

#[test]
fn a_larger_range_serves_tag_waiters_first() {
    let mut bench = Bench::with_tags(1);
    let (_, _, _) = bench.waiting_call();
    let b = bench.begin(None).unwrap();
    assert_eq!(bench.step(b.id), Action::Sleep);
    bench.set_range(TagRange { min: 0, max: 3 });
    let c = bench.call();
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Tag(1))]);
    assert_eq!(c.tag, Some(2));
}

#[test]
fn an_empty_range_fails_tag_waiters() {
    let mut bench = Bench::with_tags(1);
    let (a, tag, _) = bench.waiting_call();
    let b = bench.begin(None).unwrap();
    assert_eq!(bench.step(b.id), Action::Sleep);
    bench.set_range(TagRange { min: 1, max: 1 });
    bench.deliver(tag, 1);
    assert_eq!(
        bench.step(a),
        Action::Completed(Outcome::Reply(1)),
        "its reply is delivered all the same"
    );
    assert_eq!(bench.woken(), [(b.id.0, Wakeup::Completed(Outcome::EmptyRange))]);
}

/// The range changes, and memory for its first tag runs out when the last tag in use is freed. No later event could
/// wake the tag waiters.
#[test]
fn tag_waiters_fail_without_memory_if_no_tag_is_in_use() {
    let mut bench = Bench::with_tags(1);
    let (a, tag, _) = bench.waiting_call();
    let b = bench.begin(None).unwrap();
    let c = bench.begin(None).unwrap();
    assert_eq!(bench.step(b.id), Action::Sleep);
    assert_eq!(bench.step(c.id), Action::Sleep);
    bench.set_range(TagRange { min: 100, max: 101 });
    OUT_OF_MEMORY.set(true);
    bench.deliver(tag, 1);
    assert_eq!(
        bench.woken(),
        [
            (b.id.0, Wakeup::Completed(Outcome::NoMemory)),
            (c.id.0, Wakeup::Completed(Outcome::NoMemory))
        ]
    );
    assert_eq!(
        bench.step(a),
        Action::Completed(Outcome::Reply(1)),
        "its reply is delivered all the same"
    );
    assert_eq!(bench.begin(None), Err(BeginError::NoMemory));
    OUT_OF_MEMORY.set(false);
    assert_eq!(bench.call().tag, Some(100));
}

#[test]
fn a_receiving_tag_waiter_fails_without_memory() {
    let mut bench = Bench::with_tags(1);
    let holder = bench.begin(Some(1)).unwrap();
    let b = bench.begin(None).unwrap();
    assert_eq!(bench.sent(holder.id, Ok(())), Action::Pending);
    assert_eq!(bench.step(b.id), Action::Receive);
    bench.set_range(TagRange { min: 100, max: 101 });
    OUT_OF_MEMORY.set(true);
    bench.deliver(0, 1);
    assert_eq!(bench.step(b.id), Action::Completed(Outcome::NoMemory));
    OUT_OF_MEMORY.set(false);
    assert!(bench.machine.is_role_unassigned());
    assert_eq!(bench.can_finish(holder.id, true), CollectAction::Reply(1));
}

/// While a tag is in use, the tag waiters wait for it.
#[test]
fn without_memory_a_freed_tag_serves_a_waiter() {
    let mut bench = Bench::with_tags(2);
    let (a, first, _) = bench.waiting_call();
    let (d, second) = bench.sent_call();
    let b = bench.begin(None).unwrap();
    assert_eq!(bench.sent(d, Ok(())), Action::Sleep);
    assert_eq!(bench.step(b.id), Action::Sleep);
    bench.set_range(TagRange { min: 0, max: 9 });
    OUT_OF_MEMORY.set(true);
    bench.deliver(second, 2);
    OUT_OF_MEMORY.set(false);
    let woken = bench.woken();
    assert!(woken.contains(&(b.id.0, Wakeup::Tag(second))), "{woken:?}");
    bench.deliver(first, 1);
    assert_eq!(bench.step(a), Action::Completed(Outcome::Reply(1)));
}

#[test]
fn an_empty_range_fails_a_receiving_tag_waiter() {
    let mut bench = Bench::with_tags(1);
    let (a, tag) = bench.started_call(1);
    let waiting = bench.begin(None).unwrap();
    assert_eq!(bench.step(waiting.id), Action::Receive);
    bench.set_range(TagRange { min: 1, max: 1 });
    bench.deliver(tag, 9);
    assert_eq!(bench.step(waiting.id), Action::Completed(Outcome::EmptyRange));
    assert_eq!(bench.can_finish(a, true), CollectAction::Reply(9), "the role was free");
}

/// One tag waiter receives as soon as no other caller can, and keeps its place in the queue.
#[test]
fn one_of_many_tag_waiters_gets_the_role() {
    let mut bench = Bench::with_tags(1);
    let holder = bench.begin(Some(1)).unwrap();
    let begun: Vec<CallId> = (0..3)
        .map(|_| {
            let begun = bench.begin(None).unwrap();
            assert_eq!(bench.step(begun.id), Action::Sleep, "the holder may fail to send");
            begun.id
        })
        .collect();
    assert_eq!(bench.sent(holder.id, Ok(())), Action::Pending);
    assert_eq!(bench.woken(), [(begun[0].0, Wakeup::Receive)]);
    assert_eq!(bench.step(begun[0]), Action::Receive);
    bench.deliver(0, 1);
    assert_eq!(bench.step(begun[0]), Action::Tagged(0), "it was the first in the queue");
    assert_eq!(bench.can_finish(holder.id, true), CollectAction::Reply(1));
    assert_eq!(bench.queue(begun[0], 6), TurnGrant::Granted(6));
    assert_eq!(bench.sent(begun[0], Ok(())), Action::Receive);
    bench.deliver(0, 2);
    assert_eq!(bench.woken(), [(begun[1].0, Wakeup::Tag(0))]);
    assert_eq!(bench.step(begun[0]), Action::Completed(Outcome::Reply(2)));
    assert_eq!(bench.begin(Some(1)), Err(BeginError::NoTag));
    assert_eq!(bench.queue(begun[1], 7), TurnGrant::Granted(7));
    assert_eq!(bench.sent(begun[1], Err(5)), Action::Completed(Outcome::Failed(5)));
    assert_eq!(bench.woken(), [(begun[2].0, Wakeup::Tag(0))], "freed without a reply");
}
