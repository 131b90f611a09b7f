//! Runs random schedules under shuttle, and prints their number.

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

use shuttle::scheduler::{
    PctScheduler, RandomScheduler, ReplayScheduler, Scheduler, UrwRandomScheduler,
};
use shuttle::{Config, MaxSteps, Runner};

use crate::random;
use crate::trace::{RUN, TELLS, on_failure};

const USAGE: &str = "usage: model-shuttle [-runs N] [-seconds N] [-seed N] [-tell <SCHEDULE]
	-runs N	schedules, shared among the schedulers
	-seconds N	at most, for each scheduler
	-seed N	another seed, other schedules
	-tell	tells the run of the schedule that it reads, step by step";

struct Options {
    runs: usize,
    seconds: u64,
    seed: u64,
    tell: Option<String>,
}

fn options() -> Option<Options> {
    let mut options = Options { runs: 100_000, seconds: 3600, seed: 1, tell: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-runs" => options.runs = args.next()?.parse().ok()?,
            "-seconds" => options.seconds = args.next()?.parse().ok()?,
            "-seed" => options.seed = args.next()?.parse().ok()?,
            "-tell" => options.tell = Some(std::io::read_to_string(std::io::stdin()).ok()?),
            _ => return None,
        }
    }
    Some(options)
}

pub fn main() -> ExitCode {
    let Some(options) = options() else {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    if let Some(schedule) = &options.tell {
        on_failure(|_| None, "the schedule");
        TELLS.store(true, Ordering::Relaxed);
        run("replay", ReplayScheduler::new_from_encoded(schedule.trim()), &options);
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    let share = options.runs.div_ceil(4);
    let mut all = 0;
    all += run("random", RandomScheduler::new_from_seed(options.seed, share), &options);
    all += run("random walk", UrwRandomScheduler::new_from_seed(options.seed, share), &options);
    all += run("PCT, depth 3", PctScheduler::new_from_seed(options.seed, 3, share), &options);
    all += run("PCT, depth 8", PctScheduler::new_from_seed(options.seed, 8, share), &options);
    println!("shuttle: {all} random schedules, {:.1} s", began.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

/// Runs the schedules of one scheduler, and returns their number.
fn run(name: &'static str, scheduler: impl Scheduler + 'static, options: &Options) -> u64 {
    if options.tell.is_none() {
        on_failure(|_| Some("model-shuttle -tell, given the schedule below".to_string()), name);
    }
    let mut config = Config::new();
    config.stack_size = 1 << 17;
    config.max_steps = MaxSteps::FailAfter(200_000);
    config.max_time = Some(std::time::Duration::from_secs(options.seconds));
    config.silence_warnings = true;
    RUN.store(0, Ordering::Relaxed);
    let began = Instant::now();
    Runner::new(scheduler, config).run(|| {
        RUN.fetch_add(1, Ordering::Relaxed);
        random::mix();
    });
    let runs = RUN.load(Ordering::Relaxed);
    println!("{name:24} {runs:>9} schedules, {:.1} s", began.elapsed().as_secs_f64());
    runs
}
