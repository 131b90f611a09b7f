//! The results: a table for the reader, and a file from which tables and plots are made.
//!
//! The file has the form of the library's benchmark: lines of round, way, load, figure, unit and value, with
//! tabs between. Lines with `#` before them say what was measured, and on which machine.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use super::clients::Load;
use super::ways::Way;

pub struct Results {
    file: Option<String>,
    text: String,
    loads: Vec<String>,
    rates: HashMap<(String, &'static str), Vec<f64>>,
    costs: HashMap<(String, &'static str), Vec<f64>>,
}

impl Results {
    pub fn new(file: Option<&str>, rounds: usize, seconds: f64) -> Results {
        let mut text = machine("9pmux");
        let _ = writeln!(text, "# rounds: {rounds} rounds of {seconds} seconds a load");
        text.push_str("round\tside\tload\tfigure\tunit\tvalue\n");
        Results {
            file: file.map(str::to_owned),
            text,
            loads: Vec::new(),
            rates: HashMap::new(),
            costs: HashMap::new(),
        }
    }

    pub fn add(&mut self, round: usize, way: Way, load: &Load, (rate, cost): (f64, f64)) {
        if !self.loads.contains(&load.name) {
            self.loads.push(load.name.clone());
        }
        let mut one = |figure, unit, value: f64| {
            if value.is_finite() {
                let (way, load) = (way.name(), &load.name);
                let _ = writeln!(self.text, "{round}\t{way}\t{load}\t{figure}\t{unit}\t{value:.1}");
            }
        };
        one("rate", "messages/s", rate);
        one("cost", "ns/message", cost);
        let key = (load.name.clone(), way.name());
        self.rates.entry(key.clone()).or_default().push(rate);
        self.costs.entry(key).or_default().push(cost);
        if let Some(file) = &self.file {
            // each time, so that a run that ends early keeps its results
            fs::write(file, &self.text).expect("the results can be written");
        }
    }

    pub fn print(&self) {
        let median = |of: &HashMap<(String, &'static str), Vec<f64>>, load: &str, way: Way| {
            let mut values = of.get(&(load.to_owned(), way.name()))?.clone();
            values.sort_by(f64::total_cmp);
            Some(values[values.len() / 2]).filter(|value| value.is_finite())
        };
        let ways = Way::all();
        println!(
            "messages a second; r is a Tread of {} bytes or the size behind it, others are Tstat\n",
            super::clients::READ
        );
        print!("| clients x requests |");
        ways.iter().for_each(|way| print!(" {} |", way.name()));
        println!(" 9pmux / straight | 9pmux / socat | 9pmux, ns of a processor |");
        println!("|---|{}---|---|---|", "---|".repeat(ways.len()));
        for load in &self.loads {
            print!("| {load} |");
            for way in &ways {
                let rate = median(&self.rates, load, *way);
                rate.map_or_else(|| print!(" |"), |rate| print!(" {rate:.0} |"));
            }
            let ours = median(&self.rates, load, Way::Ninepmux);
            for to in [Way::Straight, Way::Socat] {
                match (ours, median(&self.rates, load, to)) {
                    (Some(ours), Some(theirs)) => print!(" {:.2} |", ours / theirs),
                    _ => print!(" |"),
                }
            }
            let cost = median(&self.costs, load, Way::Ninepmux);
            println!(" {} |", cost.map_or_else(String::new, |cost| format!("{cost:.0}")));
        }
    }
}

/// What was measured and on which machine, a line each.
pub fn machine(of: &str) -> String {
    let line = |path: &str, begins: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(begins)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let output = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
    };
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kilobytes: f64 = line("/proc/meminfo", "MemTotal")
        .split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut text = format!("# {of} benchmark: 1\n");
    for (name, value) in [
        ("date", said("date", &["-u", "+%Y-%m-%d"])),
        ("processor", format!("{}, {processors} of them", line("/proc/cpuinfo", "model name"))),
        ("memory", format!("{:.1} GiB", kilobytes / 1_048_576.0)),
        ("system", said("uname", &["-srm"])),
        ("compilers", said("rustc", &["--version"])),
        ("load before", load.split(' ').next().unwrap_or_default().to_owned()),
    ] {
        let _ = writeln!(text, "# {name}: {value}");
    }
    text
}
