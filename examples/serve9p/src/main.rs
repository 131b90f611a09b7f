//! `serve9p socket directory`: serves the directory as 9P2000 on a Unix socket, until killed.
//!
//! The server is that of the crate ninep; this program only starts it. So the examples run against an
//! independent implementation of 9P.

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
    // The listening thread ends only by a panic, which has printed the reason.
    let listening = Server::new(files).serve_socket_with_custom_path(socket);
    if listening.join().is_err() {
        exit(1);
    }
}
