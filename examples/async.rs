//! Many async tasks on one thread call one Neovim over one connection; the client's thread receives.
//!
//! `async socket [tasks [rounds]]`, where `nvim --headless --listen socket` is running. Each reply is checked
//! to belong to its call. One call is abandoned, and its late reply is an orphan. The call that is outstanding
//! when the connection is hung up ends with an error.
//!
//! The library works with any executor; this one is from the crate futures. The transport for the protocol of
//! Neovim is in neovim/mod.rs.

mod neovim;

use std::fmt::Display;
use std::pin::pin;
use std::time::Instant;
use std::{env, process};

use futures::channel::mpsc::{self, UnboundedReceiver};
use futures::executor::block_on;
use futures::future::{Either, join, join_all, select};
use futures::stream::StreamExt;
use mux::Error;
use neovim::{Answer, Message, Neovim, Request, connect, request, response};
use rmpv::Value;

/// One call. The outer error is that of the connection; the inner one is a reply of Neovim.
async fn call(nvim: &Neovim, method: &str, params: Vec<Value>) -> Result<Answer, Error> {
    match nvim.call(request(method, params)).await? {
        Message::Response { answer, .. } => Ok(answer),
        other => unreachable!("{other:?} has no tag"),
    }
}

/// The work of each task: two calls per round, with replies that only this task can get.
async fn task(nvim: &Neovim, me: u64, rounds: u64) {
    for n in 0..rounds {
        let number = me * 1_000_000 + n;
        match call(nvim, "nvim_eval", vec![number.to_string().into()]).await {
            Ok(Ok(answer)) if answer == Value::from(number) => {}
            other => die(format_args!("{number} is answered {other:?}")),
        }
        let unknown = format!("no_{me}_{n}_here");
        match call(nvim, "nvim_eval", vec![unknown.clone().into()]).await {
            Ok(Err(refusal)) if refusal.to_string().contains(&unknown) => {}
            other => die(format_args!("{unknown} is answered {other:?}")),
        }
    }
}

/// The next call that Neovim makes. It replies to the call that caused this one only after our reply.
async fn question(orphans: &mut UnboundedReceiver<Message>, want: &str) -> Request {
    match orphans.next().await {
        Some(Message::Request(asks)) if asks.method.as_str() == Some(want) => asks,
        other => die(format_args!("Neovim says {other:?}, and does not ask for {want}")),
    }
}

async fn program(nvim: &Neovim, mut orphans: UnboundedReceiver<Message>, size: [u64; 2]) {
    let ([tasks, rounds], began) = (size, Instant::now());
    let channel = match call(nvim, "nvim_get_api_info", vec![]).await {
        Ok(Ok(info)) => info[0].clone(),
        other => die(format_args!("Neovim says of itself {other:?}")),
    };
    let ask_back = |name, n| vec![format!("rpcrequest({channel}, '{name}', {n})").into()];

    // Wait for the first of the two, as with a timer. Dropping a call abandons it; the reply to this one
    // cannot have arrived, because Neovim waits for us.
    let slow = nvim.start(request("nvim_eval", ask_back("slow", 7))).unwrap_or_else(|e| die(e));
    let asks = match select(slow, pin!(question(&mut orphans, "slow"))).await {
        Either::Right((asks, slow)) => {
            drop(slow);
            asks
        }
        Either::Left((reply, _)) => die(format_args!("the slow call is answered {reply:?}")),
    };
    let given_up = nvim.outstanding();

    join_all((0..tasks).map(|me| task(nvim, me, rounds))).await;

    // The reply arrives now, too late for any call.
    nvim.send_message(response(asks.id, asks.params[0].clone())).unwrap_or_else(|e| die(e));
    match orphans.next().await {
        Some(Message::Response { answer: Ok(late), .. }) if late == Value::from(7) => {}
        other => die(format_args!("the late reply is {other:?}")),
    }
    let stats = nvim.stats();
    let seen = (given_up, stats.orphans, nvim.outstanding());
    if seen != (1, 2, 0) {
        die(format_args!("abandoned, orphans and outstanding are {seen:?}"));
    }

    // This call gets no reply: the connection is hung up.
    let hang_up = async {
        question(&mut orphans, "never").await;
        nvim.hang_up();
    };
    match join(call(nvim, "nvim_eval", ask_back("never", 0)), hang_up).await {
        (Err(Error::HungUp), ()) => {}
        (other, ()) => die(format_args!("the last call is answered {other:?}")),
    }
    println!(
        "async: {} calls by {tasks} tasks of one thread in {:.2} s, at most {} outstanding, each got its own \
         reply; the late reply to an abandoned call was an orphan; one call ended with the connection",
        nvim.stats().calls,
        began.elapsed().as_secs_f64(),
        stats.max_outstanding,
    );
}

fn die(why: impl Display) -> ! {
    eprintln!("async: {why}");
    process::exit(1)
}

fn main() {
    let mut args = env::args().skip(1);
    let path = args.next().unwrap_or_else(|| die("usage: async socket [tasks [rounds]]"));
    let mut number = |default| match args.next() {
        Some(arg) => arg.parse().unwrap_or_else(|_| die(format_args!("{arg} is no number"))),
        None => default,
    };
    let size = [number(200), number(10)];

    let (orphan, orphans) = mpsc::unbounded();
    let connected = connect(&path, move |message| drop(orphan.unbounded_send(message)));
    let nvim = connected.unwrap_or_else(|e| die(format_args!("{path}: {e}")));
    block_on(program(&nvim, orphans, size));
}
