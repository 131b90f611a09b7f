//! A report: tables with aligned columns, or one JSON object.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::snapshot::{Snapshot, Table};

/// Returns a report in columns.
pub fn columns(snapshot: &Snapshot) -> String {
    let mut text = format!("{}\n\n", snapshot.version);
    write_table(&mut text, &snapshot.upstream);
    text.push('\n');
    write_table(&mut text, &snapshot.clients);
    text.push('\n');
    let rows = snapshot.stats.iter().map(|(name, value)| vec![name.clone(), value.to_string()]);
    let columns = vec!["name".to_owned(), "value".to_owned()];
    write_table(&mut text, &Table { columns, rows: rows.collect() });
    text
}

/// Appends a table: numbers are aligned to the right.
fn write_table(text: &mut String, table: &Table) {
    let lines = || std::iter::once(&table.columns).chain(&table.rows);
    let widths: Vec<usize> = (0..table.columns.len())
        .map(|n| lines().map(|line| line[n].chars().count()).max().unwrap_or(0))
        .collect();
    let is_number = |n: usize| {
        table.rows.iter().all(|row| row[n] == "-" || row[n].parse::<u64>().is_ok())
            && !table.rows.is_empty()
    };
    for line in lines() {
        let mut shown = String::new();
        for (n, word) in line.iter().enumerate() {
            let width = widths[n];
            let _ = match is_number(n) {
                true => write!(shown, "{word:>width$} "),
                false => write!(shown, "{word:width$} "),
            };
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
}

/// Returns a report as an object, on one line.
pub fn json(snapshot: &Snapshot) -> String {
    let rows = |table: &Table| -> Vec<Value> {
        table.rows.iter().map(|row| object(&table.columns, row)).collect()
    };
    let latency = &snapshot.latency;
    let by_type: Map<String, Value> = latency
        .rows
        .iter()
        .map(|row| (row[0].clone(), object(&latency.columns[1..], &row[1..])))
        .collect();
    let report = json!({
        "version": snapshot.version,
        "stats": snapshot.stats,
        "upstream": rows(&snapshot.upstream),
        "clients": rows(&snapshot.clients),
        "latency": by_type,
    });
    format!("{report}\n")
}

/// The columns that are texts, even if a text such as the name of a user has digits only.
const TEXTS: [&str; 6] = ["address", "from", "user", "state", "dialect", "last_error"];

/// Returns an object of a row: numbers are numbers, and `-` is null.
fn object(columns: &[String], row: &[String]) -> Value {
    let value = |column: &str, word: &str| match word.parse::<u64>() {
        _ if word == "-" => Value::Null,
        Ok(number) if !TEXTS.contains(&column) => number.into(),
        _ => word.into(),
    };
    columns.iter().zip(row).map(|(column, word)| (column.clone(), value(column, word))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::parse_stats;
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            version: "9pmux 1.0.0 pid 7 up 60".to_owned(),
            stats: parse_stats("clients 2\nrequests_total{type=\"Tread\"} 12345\n"),
            upstream: Table::parse("address state msize\ntcp!h!564 away -\n"),
            clients: Table::parse("id user out\n0 007 5\n12 a\\x20b 1000\n"),
            latency: Table::parse("type count sum_us lt_2 more\nTread 3 9 2 1\n"),
        }
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            columns(&snapshot()),
            "9pmux 1.0.0 pid 7 up 60\n\n\
             address   state msize\n\
             tcp!h!564 away      -\n\n\
             id user    out\n \
             0 007       5\n\
             12 a\\x20b 1000\n\n\
             name                         value\n\
             clients                          2\n\
             requests_total{type=\"Tread\"} 12345\n"
        );
    }

    #[test]
    fn json_is_one_line_with_numbers() {
        let text = json(&snapshot());
        assert_eq!(text.lines().count(), 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["stats"]["requests_total{type=\"Tread\"}"], 12345);
        assert_eq!(value["upstream"][0]["msize"], Value::Null);
        assert_eq!(value["clients"][0]["user"], "007");
        assert_eq!(value["clients"][1]["user"], "a\\x20b");
        assert_eq!(value["clients"][1]["out"], 1000);
        assert_eq!(value["latency"]["Tread"]["sum_us"], 9);
    }
}
