//! Many threads call one Neovim over one connection, each as if it had a connection of its own.
//!
//! `msgpack-rpc socket [threads [rounds]]`, where `nvim --headless --listen socket` is running. Each
//! reply is checked to belong to its call.
//!
//! The transport for the protocol of Neovim is in neovim/mod.rs.

mod neovim;

use std::fmt::Display;
use std::sync::mpsc;
use std::time::Instant;
use std::{env, process, thread};

use mux::Error;
use neovim::{Answer, Message, Neovim, Request, connect, request, response};
use rmpv::Value;

/// One call. The outer error is that of the connection; the inner one is a reply of Neovim.
fn call(nvim: &Neovim, method: &str, params: Vec<Value>) -> Result<Answer, Error> {
    match nvim.rpc(request(method, params))? {
        Message::Response { answer, .. } => Ok(answer),
        other => unreachable!("{other:?} has no tag"),
    }
}

/// One call that must succeed.
fn ask(nvim: &Neovim, method: &str, params: Vec<Value>) -> Value {
    match call(nvim, method, params) {
        Ok(Ok(result)) => result,
        Ok(Err(refusal)) => die(format_args!("{method}: {refusal}")),
        Err(error) => die(format_args!("{method}: {error}: {error:?}")),
    }
}

fn die(why: impl Display) -> ! {
    eprintln!("msgpack-rpc: {why}");
    process::exit(1)
}

fn check(got: &Value, want: &Value) {
    if got != want {
        die(format_args!("a reply is {got}, not {want}"));
    }
}

/// The work of each thread: four calls per round, with replies that only this thread can get.
fn caller(nvim: &Neovim, me: u64, rounds: u64) {
    let buffer = ask(nvim, "nvim_create_buf", vec![false.into(), true.into()]);
    let no_options = Value::Map(Vec::new());
    ask(nvim, "nvim_buf_attach", vec![buffer.clone(), false.into(), no_options]);
    let all = [buffer, 0.into(), (-1).into(), true.into()]; // the buffer, from its first line to its last
    for n in 0..rounds {
        let lines = Value::from(vec![Value::from(format!("line {n} of caller {me}"))]);
        ask(nvim, "nvim_buf_set_lines", all.iter().chain([&lines]).cloned().collect());
        check(&ask(nvim, "nvim_buf_get_lines", all.to_vec()), &lines);

        let number = me * 1_000_000 + n;
        check(&ask(nvim, "nvim_eval", vec![number.to_string().into()]), &number.into());

        let unknown = format!("no_{me}_{n}_here");
        match call(nvim, "nvim_eval", vec![unknown.clone().into()]) {
            Ok(Err(refusal)) if refusal.to_string().contains(&unknown) => {}
            other => die(format_args!("{unknown} is answered {other:?}")),
        }
    }
}

fn main() {
    let mut args = env::args().skip(1);
    let path = args.next().unwrap_or_else(|| die("usage: msgpack-rpc socket [threads [rounds]]"));
    let mut number = |default| match args.next() {
        Some(arg) => arg.parse().unwrap_or_else(|_| die(format_args!("{arg} is no number"))),
        None => default,
    };
    let (threads, rounds) = (number(8), number(250));

    let (orphan, orphans) = mpsc::channel();
    let connected = connect(&path, move |message| drop(orphan.send(message)));
    let nvim = &connected.unwrap_or_else(|e| die(format_args!("{path}: {e}")));
    let began = Instant::now();
    let info = ask(nvim, "nvim_get_api_info", vec![]);
    let channel = info[0].as_u64().unwrap_or_else(|| die(info));
    let mut changes = 0; // notifications that the lines of a buffer have changed
    let ask_back = |method, n| Value::from(format!("rpcrequest({channel}, '{method}', {n})"));

    thread::scope(|scope| {
        let callers: Vec<_> =
            (0..threads).map(|me| scope.spawn(move || caller(nvim, me, rounds))).collect();
        // Calls during which Neovim makes calls itself.
        scope.spawn(move || {
            for n in 0..rounds {
                check(&ask(nvim, "nvim_eval", vec![ask_back("double", n)]), &(2 * n).into());
            }
            for caller in callers {
                caller.join().unwrap_or_else(|_| die("a caller has panicked"));
            }
            // This call gets no reply: the connection is hung up.
            match call(nvim, "nvim_eval", vec![ask_back("stop", 0)]) {
                Err(Error::HungUp) => {}
                other => die(format_args!("the last call is answered {other:?}")),
            }
        });

        for message in orphans {
            let Request { id, method, params } = match message {
                Message::Request(request) => request,
                Message::Notification { method } => {
                    changes += u64::from(method.as_str() == Some("nvim_buf_lines_event"));
                    continue;
                }
                Message::Response { .. } => {
                    die(format_args!("a response without a request: {message:?}"))
                }
            };
            match (method.as_str(), params[0].as_u64()) {
                (Some("double"), Some(n)) => {
                    let sent = nvim.send_message(response(id, (2 * n).into()));
                    sent.unwrap_or_else(|e| die(format_args!("an answer: {e}: {e:?}")));
                }
                (Some("stop"), _) => break,
                _ => die(format_args!("Neovim asks for {method}{params}")),
            }
        }
        nvim.hang_up();
    });

    if changes != threads * rounds {
        die(format_args!("{changes} notifications, not {}", threads * rounds));
    }
    let stats = nvim.stats();
    println!(
        "msgpack-rpc: {} calls by {} threads in {:.2} s, at most {} outstanding, each got its own reply; \
         {changes} notifications; {rounds} calls of the server got replies",
        stats.calls,
        threads + 1,
        began.elapsed().as_secs_f64(),
        stats.max_outstanding,
    );
}
