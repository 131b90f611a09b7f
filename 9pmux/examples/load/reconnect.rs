//! Messages per second with `--reconnect`, as a ratio to those without.
//!
//! The two ways of a round are measured one after the other, and begin in turns. The table shows the median of the
//! ratios of the rounds.
//!
//! | requests | goal |
//! |---|---|
//! | Tstat, Tread | at least 0.95 |
//! | Twalk, Twrite | at least 0.85 |

use std::path::Path;

use super::beside::median;
use super::clients::Load;
use super::ways::{Way, measure};

/// The default loads.
const LOADS: [&str; 8] =
    ["1x1", "64x16", "64x16r", "4x4r128k", "1x1n", "64x16n", "1x4w128k", "4x4w128k"];

const TSTAT: u8 = 124;
const TREAD: u8 = 116;

fn goal(load: &Load) -> f64 {
    if [TSTAT, TREAD].contains(&load.kind()) { 0.95 } else { 0.85 }
}

/// Measures the loads, or the default ones.
pub fn main(directory: &Path, loads: &[String], rounds: usize, seconds: f64) {
    let names = if loads.is_empty() { LOADS.map(String::from).to_vec() } else { loads.to_vec() };
    let loads: Vec<Load> = names.iter().map(|load| Load::named(load)).collect();
    let mut ratios: Vec<[Vec<f64>; 2]> = loads.iter().map(|_| Default::default()).collect();
    for round in 0..rounds {
        for (load, ratios) in loads.iter().zip(&mut ratios) {
            let mut ways = [Way::Ninepmux, Way::Reconnecting];
            if round % 2 == 1 {
                ways.reverse();
            }
            let mut measured = ways.map(|way| measure(way, load, seconds, directory));
            if round % 2 == 1 {
                measured.reverse();
            }
            let [(rate, cost), (rate_with, cost_with)] = measured;
            ratios[0].push(rate_with / rate);
            ratios[1].push(cost_with / cost);
        }
    }
    println!(
        "| clients x requests | goal | messages, ratio | least | most | processor time, ratio |"
    );
    println!("|---|---|---|---|---|---|");
    for (load, [rates, costs]) in loads.iter().zip(ratios) {
        let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rates.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (rate, cost) = (median(rates), median(costs));
        let (name, goal) = (&load.name, goal(load));
        println!("| {name} | {goal} | {rate:.2} | {least:.2} | {most:.2} | {cost:.2} |");
    }
}
