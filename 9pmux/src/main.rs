//! 9pmux: many 9P clients share one connection to a 9P server. See 9pmux(1).
//!
//! This program has the command line, the log and the exit status; the rest is in `ninepmux::net`. Under the name
//! `9pserve` it has another command line, and other exit statuses (`pserve`).

#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "the tests have an entry of their own"))]

mod args;
mod control_args;
#[cfg(not(test))]
mod entry;
mod link_args;
mod log;
mod log_queue;
mod pserve;
mod reconnect_args;
#[cfg(feature = "stat")]
mod stat_args;

use std::ffi::OsString;
use std::io::{Write, stdout};

use clap::{CommandFactory, Parser};
use ninepmux::net::{self, Failure};

use args::{Args, Command};

/// An exit status.
type Status = u8;

const SUCCESS: Status = 0;
const FAILURE: Status = 1;

/// Runs a command with a log. Returns its exit status.
fn run_command(verbose: u8, quiet: bool, command: impl FnOnce() -> Result<(), Failure>) -> Status {
    if let Err(error) = log::init(verbose, quiet) {
        log::print_error(&format_args!("starting a thread for the log: {error}"));
        return FAILURE;
    }
    let status = match command() {
        Ok(()) => SUCCESS,
        Err(failure) => {
            log::error(&failure);
            failure.exit_status()
        }
    };
    log::flush();
    status
}

/// The program with these arguments, of which the first is its name. Returns its exit status.
fn run(arguments: Vec<OsString>) -> Status {
    if pserve::is_named(&arguments) {
        return pserve::run(arguments);
    }
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(message) => return args::print_usage(&message),
    };
    match args.command {
        Command::Serve(serve) => match serve.check() {
            Ok(()) => run_command(serve.verbose, serve.quiet, || net::serve(serve.options())),
            Err(message) => args::print_usage(&message),
        },
        Command::Link(link) => match link.check() {
            Ok(()) => run_command(link.verbose, link.quiet, || net::link(link.options())),
            Err(message) => args::print_usage(&message),
        },
        #[cfg(feature = "stat")]
        Command::Stat(stat) => match ninepmux::stat::stat(&stat.options()) {
            Ok(()) => SUCCESS,
            Err(failure) => {
                log::print_error(&failure);
                failure.exit_status()
            }
        },
        Command::Completions { shell } => {
            let name = env!("CARGO_BIN_NAME");
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), name, &mut text);
            args::printed_status(stdout().write_all(&text))
        }
    }
}
