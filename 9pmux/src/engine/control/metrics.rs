//! The file `metrics`: the counters and latencies in Prometheus' text format.
//!
//! Names begin with `ninepmux_`, because Prometheus permits no digit there. A histogram has cumulative buckets, with
//! bounds in seconds.

use super::report::{StatKind, request_types};
use super::text::Lines;
use crate::engine::Engine;

/// Returns microseconds as seconds, exactly.
fn seconds(microseconds: u64) -> String {
    let (whole, part) = (microseconds / 1_000_000, microseconds % 1_000_000);
    format!("{whole}.{part:06}")
}

impl Engine {
    pub(super) fn write_metrics(&mut self, lines: &mut Lines) {
        for stat in self.all_stats() {
            let kind = match stat.kind {
                StatKind::Counter => "counter",
                StatKind::Gauge => "gauge",
            };
            lines.push(format_args!("# HELP ninepmux_{} {}", stat.name, stat.help));
            lines.push(format_args!("# TYPE ninepmux_{} {kind}", stat.name));
            match stat.name {
                // Its series are those of the types, so that their sum is the number of all.
                "requests_total" => {
                    for (name, count) in self.requests_by_type() {
                        lines.push(format_args!(
                            "ninepmux_requests_total{{type=\"{name}\"}} {count}"
                        ));
                    }
                }
                name => {
                    lines.push(format_args!("ninepmux_{name} {}", stat.value));
                }
            }
        }
        self.write_histograms(lines);
    }

    fn write_histograms(&self, lines: &mut Lines) {
        const NAME: &str = "ninepmux_request_duration_seconds";
        lines.push(format_args!(
            "# HELP {NAME} Time from forwarding a request to the server's reply."
        ));
        lines.push(format_args!("# TYPE {NAME} histogram"));
        for (kind, name) in request_types() {
            let latencies = self.latencies_of(kind);
            let count = latencies.count();
            if count == 0 {
                continue;
            }
            for (bound, below) in latencies.cumulative() {
                let bound = seconds(bound);
                lines.push(format_args!("{NAME}_bucket{{type=\"{name}\",le=\"{bound}\"}} {below}"));
            }
            lines.push(format_args!("{NAME}_bucket{{type=\"{name}\",le=\"+Inf\"}} {count}"));
            lines.push(format_args!("{NAME}_sum{{type=\"{name}\"}} {}", seconds(latencies.sum)));
            lines.push(format_args!("{NAME}_count{{type=\"{name}\"}} {count}"));
        }
    }
}
