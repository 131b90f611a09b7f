//! Clients that wait for a version, while no other client has a session.

use std::time::Duration;

use super::super::LocalError::*;
use super::super::messages::*;
use super::bench::SECOND;
use crate::engine::{ClientId, Config, EndReason, Engine, Reconnect};
use crate::wire::{Dialect, kind, types};

const PATIENCE: Duration = Duration::from_secs(60);

/// Returns an engine without a dialect, whose server has been connected.
fn connected() -> Engine {
    let config = Config { reconnect: Some(Reconnect::default()), ..Config::default() };
    let mut engine = Engine::new(config);
    engine.server_connected();
    engine
}

fn tick(engine: &mut Engine, now: Duration) {
    engine.tick(now);
    engine.audit();
}

/// The server ends the connection.
fn lose(engine: &mut Engine) {
    engine.server_gone();
    engine.audit();
    assert_eq!(engine.take_lost_server(), Some(EndReason::ServerClosed));
    assert!(engine.wants_redial());
}

fn connect(engine: &mut Engine) {
    engine.server_connected();
    engine.audit();
}

/// A client that offers a version.
fn offers(engine: &mut Engine, dialect: Dialect) -> ClientId {
    let id = engine.client_connected();
    engine.client_bytes(id, &version(8192, dialect.name()));
    engine.audit();
    id
}

/// Returns the dialect of the Tversion in the server's output, which it takes.
#[track_caller]
fn asked(engine: &mut Engine) -> Dialect {
    let message = engine.server_output().to_vec();
    assert_eq!(kind(&message), types::TVERSION);
    engine.server_wrote(message.len());
    Dialect::from_name(&message[13..]).unwrap()
}

fn has_failed(engine: &Engine, id: ClientId) -> bool {
    !engine.output(id).is_empty() && is_local_error(Dialect::L, engine.output(id), NotAnswering)
}

/// A client that arrives at the time of a loss waits for a whole `PATIENCE`.
#[track_caller]
fn waits_from(engine: &mut Engine, lost: Duration) {
    let id = offers(engine, Dialect::L);
    tick(engine, lost + PATIENCE - SECOND);
    assert!(engine.output(id).is_empty(), "it has not waited");
    tick(engine, lost + PATIENCE);
    assert!(has_failed(engine, id));
}

#[test]
fn patience_counts_from_the_loss_if_no_client_has_come_before() {
    let mut engine = connected();
    tick(&mut engine, 100 * SECOND);
    lose(&mut engine);
    waits_from(&mut engine, 100 * SECOND);
}

#[test]
fn patience_counts_from_the_loss_also_for_an_offer_that_was_at_the_server() {
    let mut engine = connected();
    tick(&mut engine, 100 * SECOND);
    let id = offers(&mut engine, Dialect::L);
    assert_eq!(asked(&mut engine), Dialect::L);
    lose(&mut engine);
    tick(&mut engine, 159 * SECOND);
    assert!(engine.output(id).is_empty());
    connect(&mut engine);
    assert_eq!(asked(&mut engine), Dialect::L);
    engine.server_bytes(&rversion(8192, "9P2000.L"));
    assert_eq!(engine.output(id), rversion(8192, "9P2000.L"));
}

#[test]
fn patience_counts_from_the_last_loss_if_no_session_has_outlived_the_one_before() {
    let mut engine = connected();
    let id = offers(&mut engine, Dialect::L);
    asked(&mut engine);
    engine.server_bytes(&rversion(8192, "9P2000.L"));
    engine.client_gone(id);
    tick(&mut engine, 10 * SECOND);
    lose(&mut engine);
    tick(&mut engine, 11 * SECOND);
    connect(&mut engine);
    assert!(engine.outage().is_some(), "it may be something before the server that has connected");
    tick(&mut engine, 16 * SECOND);
    assert!(engine.outage().is_none());
    assert_eq!(engine.next_deadline(), None);
    tick(&mut engine, 500 * SECOND);
    lose(&mut engine);
    waits_from(&mut engine, 500 * SECOND);
    // The server comes back when requests do not wait any more.
    connect(&mut engine);
    tick(&mut engine, 570 * SECOND);
    lose(&mut engine);
    waits_from(&mut engine, 570 * SECOND);
}

#[test]
fn connections_that_do_not_last_are_no_end_of_an_outage() {
    let mut engine = connected();
    for second in 1..60 {
        tick(&mut engine, second * SECOND);
        lose(&mut engine);
        connect(&mut engine);
    }
    tick(&mut engine, PATIENCE);
    lose(&mut engine);
    let id = offers(&mut engine, Dialect::L);
    assert!(has_failed(&engine, id));
}

#[test]
fn refusal_of_a_version_shows_that_the_server_is_there() {
    let mut engine = connected();
    tick(&mut engine, SECOND);
    let id = offers(&mut engine, Dialect::L);
    asked(&mut engine);
    engine.server_bytes(&rversion(8192, "unknown"));
    assert_eq!(engine.output(id), rversion(8192, "unknown"));
    assert!(engine.outage().is_none());
    tick(&mut engine, 300 * SECOND);
    lose(&mut engine);
    waits_from(&mut engine, 300 * SECOND);
}

#[test]
fn offer_at_which_the_server_hangs_up_does_not_keep_another_client_out() {
    for is_silent in [false, true] {
        let mut engine = connected();
        let bad = offers(&mut engine, Dialect::U);
        let other = offers(&mut engine, Dialect::U);
        assert_eq!(asked(&mut engine), Dialect::U);
        let good = offers(&mut engine, Dialect::L);
        if is_silent {
            tick(&mut engine, Config::default().version_timeout);
            assert_eq!(engine.take_lost_server(), Some(EndReason::VersionTimeout));
        } else {
            lose(&mut engine);
        }
        connect(&mut engine);
        assert_eq!(asked(&mut engine), Dialect::L);
        engine.server_bytes(&rversion(8192, "9P2000.L"));
        engine.audit();
        assert_eq!(engine.output(good), rversion(8192, "9P2000.L"));
        // The dialect is that of a session now.
        for id in [bad, other] {
            assert_eq!(engine.output(id), rversion(8192, "unknown"));
        }
    }
}

#[test]
fn lost_offer_is_made_again_when_the_others_have_been_made() {
    let mut engine = connected();
    let ids = [Dialect::U, Dialect::L, Dialect::U].map(|dialect| offers(&mut engine, dialect));
    for dialect in [Dialect::U, Dialect::L, Dialect::U, Dialect::L] {
        assert_eq!(asked(&mut engine), dialect);
        lose(&mut engine);
        connect(&mut engine);
    }
    assert_eq!(asked(&mut engine), Dialect::U);
    engine.server_bytes(&rversion(8192, "9P2000.u"));
    engine.audit();
    for (id, name) in ids.into_iter().zip(["9P2000.u", "unknown", "9P2000.u"]) {
        assert_eq!(engine.output(id), rversion(8192, name));
    }
}

#[test]
fn second_tversion_that_fails_does_not_end_9pmux_while_the_server_restarts() {
    let config =
        Config { reconnect: Some(Reconnect::default()), can_redial: true, ..Config::default() };
    let mut engine = Engine::new(config);
    connect(&mut engine);
    let first = offers(&mut engine, Dialect::Plain);
    asked(&mut engine);
    engine.server_bytes(&rversion(8192, "9P2000"));
    engine.client_gone(first);
    let second = offers(&mut engine, Dialect::L);
    assert_eq!(asked(&mut engine), Dialect::L);
    engine.server_bytes(&made(types::RERROR, 0xffff).str("once only").done());
    engine.audit();
    assert!(engine.wants_redial());
    engine.redial_failed();
    engine.audit();
    assert_eq!(engine.end_reason(), None);
    assert!(engine.wants_redial());
    connect(&mut engine);
    assert_eq!(asked(&mut engine), Dialect::L);
    engine.server_bytes(&rversion(8192, "9P2000.L"));
    assert_eq!(engine.output(second), rversion(8192, "9P2000.L"));
}
