//! A snapshot: the files of the control tree, parsed.
//!
//! Words are kept as they are. 9pmux has escaped what came from outside, so they are safe to print.

use std::collections::BTreeMap;
use std::time::Duration;

use super::StatFailure;
use super::session::Session;

/// A table: a line of column names, and further lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn parse(text: &str) -> Table {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut lines = text.lines();
        let columns = lines.next().map(words).unwrap_or_default();
        // A text that was cut has a last line of another form.
        let rows = lines.map(words).filter(|row| row.len() == columns.len()).collect();
        Table { columns, rows }
    }

    /// Returns the index of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// Returns the word of a row in a column, or `-`.
    pub fn word<'a>(&self, row: &'a [String], name: &str) -> &'a str {
        let word = self.column(name).and_then(|column| row.get(column));
        word.map_or("-", String::as_str)
    }

    /// Returns the number of a row in a column, or 0.
    pub fn number(&self, row: &[String], name: &str) -> u64 {
        self.word(row, name).parse().unwrap_or(0)
    }
}

/// The files at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The line of the file `version`.
    pub version: String,
    pub stats: BTreeMap<String, u64>,
    pub upstream: Table,
    pub clients: Table,
    pub latency: Table,
}

impl Snapshot {
    pub fn read(session: &mut Session) -> Result<Snapshot, StatFailure> {
        Ok(Snapshot {
            version: session.read("version")?.trim_end().to_owned(),
            stats: parse_stats(&session.read("stats")?),
            upstream: Table::parse(&session.read("upstream")?),
            clients: Table::parse(&session.read("clients")?),
            latency: Table::parse(&session.read("latency")?),
        })
    }

    /// Returns a counter or gauge, or 0.
    pub fn stat(&self, name: &str) -> u64 {
        self.stats.get(name).copied().unwrap_or(0)
    }

    /// Returns the name and the version of the program.
    pub fn program(&self) -> &str {
        self.version.split(" pid ").next().unwrap_or_default()
    }

    /// Returns the time since the start of the program.
    pub fn up(&self) -> Duration {
        let seconds = self.version.rsplit(' ').next().and_then(|word| word.parse().ok());
        Duration::from_secs(seconds.unwrap_or(0))
    }
}

pub fn parse_stats(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| line.rsplit_once(' '));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}
