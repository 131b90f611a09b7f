//! Runs scenarios under loom, and prints the number of interleavings and whether they are complete.

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::scenarios::{ALL, Scenario};
use crate::trace::{RUN, TELLS, on_failure};

const USAGE: &str = "usage: model-loom [-long] [-seconds N] [-bound N] [-tell RUN] [SCENARIO ...]
	-long	the bounds of the long run
	-seconds N	for each scenario at most
	-bound N	threads are taken off N times at most; 0 is any number
	-tell RUN	tells that run of the scenario step by step, and ends";

struct Options {
    long: bool,
    seconds: u64,
    bound: Option<usize>,
    tell: Option<u64>,
    names: Vec<String>,
}

fn options() -> Option<Options> {
    let mut options =
        Options { long: false, seconds: 10, bound: None, tell: None, names: Vec::new() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-long" => options.long = true,
            "-seconds" => options.seconds = args.next()?.parse().ok()?,
            "-bound" => options.bound = Some(args.next()?.parse().ok()?),
            "-tell" => options.tell = Some(args.next()?.parse().ok()?),
            name if ALL.iter().any(|scenario| scenario.name == name) => {
                options.names.push(arg);
            }
            _ => return None,
        }
    }
    Some(options)
}

pub fn main() -> ExitCode {
    let Some(options) = options() else {
        println!("{USAGE}");
        for scenario in ALL {
            println!("{:24} {}", scenario.name, scenario.what);
        }
        return ExitCode::FAILURE;
    };
    let chosen = |scenario: &&Scenario| {
        options.names.is_empty() || options.names.iter().any(|name| name == scenario.name)
    };
    let began = Instant::now();
    let mut all = 0;
    for scenario in ALL.iter().filter(chosen) {
        let bound = match options.bound {
            Some(0) => None,
            Some(bound) => Some(bound),
            None if options.long => scenario.long,
            None => scenario.bound,
        };
        all += check(scenario, bound, &options);
    }
    println!("loom: {all} interleavings, {:.1} s", began.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

/// Checks one scenario, and returns the number of interleavings.
fn check(scenario: &Scenario, bound: Option<usize>, options: &Options) -> u64 {
    let name = scenario.name;
    on_failure(
        move |run| {
            let bound = bound.unwrap_or(0);
            Some(format!("model-loom -seconds 3600 -bound {bound} -tell {run} {name}"))
        },
        name,
    );
    RUN.store(0, Ordering::Relaxed);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.max_branches = 5_000;
    // The number of interleavings after which loom checks the time.
    builder.checkpoint_interval = 256;
    builder.max_duration = Some(Duration::from_secs(options.seconds));
    let tell = options.tell;
    let run = scenario.run;
    let began = Instant::now();
    builder.check(move || {
        let number = 1 + RUN.fetch_add(1, Ordering::Relaxed);
        TELLS.store(tell == Some(number), Ordering::Relaxed);
        run();
        if tell == Some(number) {
            println!("that run of {name} is in order");
            std::process::exit(0);
        }
    });
    let took = began.elapsed();
    let runs = RUN.load(Ordering::Relaxed);
    let how = match bound {
        _ if took.as_secs() >= options.seconds => "as far as there was time".to_string(),
        None => "complete".to_string(),
        Some(bound) => format!("complete up to {bound} preemptions"),
    };
    println!("{name:24} {runs:>9} interleavings, {how}, {:.1} s", took.as_secs_f64());
    runs
}
