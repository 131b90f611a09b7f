//! The command line of `9pmux stat`.

use std::time::Duration;

use ninepmux::net::Address;
use ninepmux::stat::{Form, Order, StatOptions};

/// Show the clients and the load of a running 9pmux
///
/// LISTEN is an address on which its clients connect. The output is a live table on a terminal, otherwise one report.
/// Keys: q ends, arrows move, s changes the order, d disconnects the marked client.
#[derive(Debug, clap::Args)]
pub struct Stat {
    /// Address of the 9pmux
    #[arg(value_parser = address)]
    listen: Address,
    /// Write one report, on a terminal too
    #[arg(short = '1')]
    once: bool,
    /// Time between two reports [default on a terminal: 1]
    #[arg(short, value_name = "SECONDS", value_parser = interval, conflicts_with = "once")]
    interval: Option<Duration>,
    /// Order of the clients in the live table: req, in, out, fids, flight or id
    #[arg(short, value_name = "COLUMN", value_parser = order, default_value = "req")]
    sort: Order,
    /// Write objects of JSON, one a line
    #[arg(long)]
    json: bool,
    /// Write metrics for Prometheus
    #[arg(long, conflicts_with = "json")]
    prometheus: bool,
    /// Name of the tree, if 9pmux was started with another one
    #[arg(long, value_name = "NAME", default_value = "/mux")]
    control: String,
}

fn address(text: &str) -> Result<Address, String> {
    let address = Address::server(text).map_err(|bad| bad.to_string())?;
    match matches!(address, Address::Exec(_)) || address.is_inherited() {
        true => Err("expected an address on which clients connect".to_owned()),
        false => Ok(address),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    crate::args::seconds(text)
}

fn order(text: &str) -> Result<Order, String> {
    Order::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Order::ALL.iter().map(|order| order.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

impl Stat {
    /// The options of `stat`.
    pub fn options(self) -> StatOptions {
        StatOptions {
            address: self.listen,
            form: match (self.json, self.prometheus) {
                (true, _) => Form::Json,
                (_, true) => Form::Prometheus,
                _ => Form::Columns,
            },
            once: self.once,
            interval: self.interval,
            order: self.sort,
            tree: self.control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn address_is_one_that_a_client_can_connect_to() {
        let vsock: &[&str] =
            if cfg!(target_os = "linux") { &["vsock!2!564", "vsock!3"] } else { &[] };
        for text in ["unix!/s", "/s", "store", "tcp!h!564"].iter().chain(vsock) {
            assert!(address(text).is_ok(), "{text}");
        }
        for text in ["exec!x", "fd!3", "fd!clients", "-", "tcp!*!564", "vsock!*!564", ""] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
