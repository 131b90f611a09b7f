//! 9pmux: many 9P clients share one connection to a 9P server. See 9pmux(1).
//!
//! This program has the command line, the log and the exit status; the rest is in `ninepmux::net`. Under the name
//! `9pserve` it has another command line, and other exit statuses (`pserve`).

mod args;
mod log;
mod log_queue;
mod pserve;
mod reconnect_args;

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use ninepmux::net::{self, Failure};

use args::{Args, Command};

/// Runs a command with a log. Returns its exit status.
fn run(verbose: u8, quiet: bool, command: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    if let Err(error) = log::init(verbose, quiet) {
        log::print_error(&format_args!("starting a thread for the log: {error}"));
        return ExitCode::FAILURE;
    }
    let status = match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::error(&failure);
            ExitCode::from(failure.exit_status())
        }
    };
    log::flush();
    status
}

fn main() -> ExitCode {
    if let Some(arguments) = pserve::arguments() {
        return pserve::main(arguments);
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(message) => return args::print_usage(&message),
    };
    match args.command {
        Command::Serve(serve) => match serve.check() {
            Ok(()) => run(serve.verbose, serve.quiet, || net::serve(serve.options())),
            Err(message) => args::print_usage(&message),
        },
        Command::Link(link) => match link.check() {
            Ok(()) => run(link.verbose, link.quiet, || net::link(link.options())),
            Err(message) => args::print_usage(&message),
        },
        Command::Completions { shell } => {
            let name = env!("CARGO_BIN_NAME");
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), name, &mut text);
            args::printed_status(stdout().write_all(&text))
        }
    }
}
