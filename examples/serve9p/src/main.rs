//! `serve9p socket directory`: serves the directory as 9P2000 on a Unix socket, until killed.
//!
//! The server is all the crate ninep's; this only starts it, so that the examples are shown against
//! a 9P implementation that has nothing to do with libmux.

use ninep::{sync::server::Server, util::local_proxy::LocalProxyFs};
use std::{env, path::PathBuf, process::exit};

fn main() {
    let mut args = env::args_os().skip(1).map(PathBuf::from);
    let (Some(socket), Some(directory), None) = (args.next(), args.next(), args.next()) else {
        eprintln!("usage: serve9p socket directory");
        exit(2);
    };
    let files = match LocalProxyFs::new(&directory) {
        Ok(files) => files,
        Err(e) => {
            eprintln!("serve9p: {}: {e}", directory.display());
            exit(1);
        }
    };
    // The thread that listens only returns by a panic, which has then said why.
    let listening = Server::new(files).serve_socket_with_custom_path(socket);
    if listening.join().is_err() {
        exit(1);
    }
}
