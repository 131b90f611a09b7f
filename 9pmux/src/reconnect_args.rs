//! The options of `--reconnect`, for `serve` and `link`.

use std::time::Duration;

use clap::ValueEnum;
use ninepmux::engine;

/// The heading of these options in the help.
pub const HEADING: &str = "Reconnection options";

/// The value of --reconnect without one, in seconds.
const DEFAULT_PATIENCE: &str = "60";

/// The message for a server that can be connected to only once.
pub const NEEDS_ADDRESS: &str = "--reconnect needs a server that can be called again";

/// The options for a server that goes away and comes back.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = HEADING)]
pub struct ReconnectArgs {
    /// Survive the loss of the server: requests wait for SECONDS, or for 60
    ///
    /// When the server has gone, clients keep their connections, fids and open files, and 9pmux tries to connect
    /// without end. Requests wait for SECONDS, counted from the loss, and then fail until the server is back. 0:
    /// they never wait; inf: they always wait. The first connection is made in the same way, so that clients can
    /// connect before the server runs.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
        default_missing_value = DEFAULT_PATIENCE, value_parser = patience)]
    reconnect: Option<Patience>,
    /// Requests in flight that are sent again after a loss
    ///
    /// The server may have executed them. none; reads: requests that change nothing; writes: also a Twrite at an
    /// offset of a plain file. Other requests get an error. For files with side effects, such as devices, none
    /// should be given.
    #[arg(long, value_name = "WHICH", default_value = "writes", requires = "reconnect")]
    repeat: Repeat,
    /// Treatment of fids that may hold a lock when the server goes
    ///
    /// fail: requests for them get an error, because another program may have had the lock meanwhile. again: the
    /// lock is taken again.
    #[arg(long, value_name = "HOW", default_value = "fail", requires = "reconnect")]
    lost_locks: LostLocks,
}

/// The time for which requests wait, if it is limited.
#[derive(Clone, Copy, Debug)]
struct Patience(Option<Duration>);

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Repeat {
    None,
    Reads,
    Writes,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LostLocks {
    Fail,
    Again,
}

impl ReconnectArgs {
    /// Returns true if `--reconnect` was given.
    pub fn is_given(&self) -> bool {
        self.reconnect.is_some()
    }

    /// The configuration of the engine.
    pub fn config(&self) -> Option<engine::Reconnect> {
        let Patience(patience) = self.reconnect?;
        Some(engine::Reconnect {
            patience,
            repeat: match self.repeat {
                Repeat::None => engine::Repeat::None,
                Repeat::Reads => engine::Repeat::Reads,
                Repeat::Writes => engine::Repeat::Writes,
            },
            lost_locks: match self.lost_locks {
                LostLocks::Fail => engine::LostLocks::Fail,
                LostLocks::Again => engine::LostLocks::Again,
            },
        })
    }
}

fn patience(text: &str) -> Result<Patience, String> {
    if text == "inf" {
        return Ok(Patience(None));
    }
    let seconds: f64 =
        text.parse().map_err(|_| "expected a number of seconds, or inf".to_owned())?;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("expected a number between 0 and 86400, or inf".to_owned());
    }
    Ok(Patience(Some(Duration::from_secs_f64(seconds))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    /// The configuration that these options of `serve` cause.
    fn parse(options: &str) -> Option<engine::Reconnect> {
        let line = format!("9pmux serve {options} a b");
        let args = Args::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Serve(serve) = args.command else { panic!("{line}") };
        serve.check().unwrap();
        serve.options().config.reconnect
    }

    #[test]
    fn options_become_the_configuration() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("--reconnect"), Some(engine::Reconnect::default()));
        let all = parse("--reconnect=2.5 --repeat=reads --lost-locks again").unwrap();
        assert_eq!(all.patience, Some(Duration::from_millis(2500)));
        assert_eq!((all.repeat, all.lost_locks), (engine::Repeat::Reads, engine::LostLocks::Again));
        assert_eq!(parse("--reconnect=0").unwrap().patience, Some(Duration::ZERO));
        let none = parse("--reconnect=inf --repeat none --lost-locks fail").unwrap();
        assert_eq!((none.patience, none.repeat), (None, engine::Repeat::None));
        assert_eq!(none.lost_locks, engine::LostLocks::Fail);
    }

    /// Returns the error of these arguments.
    fn error(line: &str) -> String {
        let args = match Args::try_parse_from(format!("9pmux {line}").split(' ')) {
            Ok(args) => args,
            Err(error) => return error.to_string(),
        };
        match args.command {
            Command::Serve(serve) => serve.check().unwrap_err().to_string(),
            Command::Link(link) => link.check().unwrap_err().to_string(),
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn invalid_values_are_refused() {
        for options in [
            "--reconnect=-1",
            "--reconnect=nan",
            "--reconnect=86401",
            "--reconnect=",
            "--reconnect=ever",
            "--repeat=reads",
            "--lost-locks=again",
            "--reconnect --repeat=all",
            "--reconnect --lost-locks=keep",
        ] {
            assert!(error(&format!("serve {options} a b")).contains("error: "), "{options}");
        }
    }

    #[test]
    fn server_that_can_be_connected_to_only_once_is_refused() {
        for line in [
            "serve --reconnect - a",
            "serve --reconnect=inf fd!3 a",
            "link --reconnect a --export fd!3",
            "link --reconnect - --post a",
            "link --reconnect - --export fd!3",
        ] {
            assert!(error(line).contains(NEEDS_ADDRESS), "{line}: {}", error(line));
        }
    }

    #[test]
    fn link_may_have_one_direction_that_is_connected_again() {
        for line in ["link --reconnect - --export a", "link --reconnect listen!unix!b --post c"] {
            let args = Args::try_parse_from(format!("9pmux {line}").split(' ')).unwrap();
            let Command::Link(link) = args.command else { panic!("{line}") };
            link.check().unwrap();
            let options = link.options();
            assert_eq!(options.export_config.reconnect, Some(engine::Reconnect::default()));
            assert_eq!(options.post_config.reconnect, Some(engine::Reconnect::default()));
        }
    }
}
