//! The Rust API of the module `client`, as a program outside the crate uses it. If a change breaks this file, the
//! change is incompatible, and Semantic Versioning requires a new minor version before 1.0.
//!
//! The library's `tests/api.sh` checks that the file uses every public name of the module.

use std::fmt::Debug;
use std::future::Future;
use std::io::{self, Read, Seek, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use ninepmux::client::{
    Client, Error, File, OEXEC, ORCLOSE, ORDWR, OREAD, OTRUNC, OWRITE, Qid, ServerStream, Stat,
    Transfer,
};

#[test]
#[allow(clippy::type_complexity, reason = "the whole types are checked")]
fn functions_have_their_types() {
    let _: fn(UnixStream) -> Result<Client, Error> = Client::connect;
    let _: fn(TcpStream) -> Result<Client, Error> = Client::spawn;
    let _: fn(&Client, &str, &str) -> Result<File, Error> = Client::attach;
    let _: fn(&Client) -> u32 = Client::msize;
    let _: fn(&Client) -> mux::Stats = Client::stats;
    let _: fn(&Client) -> usize = Client::outstanding;
    let _: fn(&Client) = Client::hang_up;

    let _: fn(&File, &str) -> Result<File, Error> = File::walk;
    let _: fn(&mut File, u8) -> Result<(), Error> = File::open;
    let _: fn(&mut File, &str, u32, u8) -> Result<(), Error> = File::create;
    let _: fn(&File) -> Qid = File::qid;
    let _: fn(&File, u64, &mut [u8]) -> Result<usize, Error> = File::read_at;
    let _: fn(&File, u64, &[u8]) -> Result<usize, Error> = File::write_at;
    let _: fn(&File, u64, usize) -> Result<Transfer<Vec<u8>>, Error> = File::start_read;
    let _: fn(&File, u64, &[u8]) -> Result<Transfer<usize>, Error> = File::start_write;
    let _: fn(&File) -> Result<Stat, Error> = File::stat;
    let _: fn(&File) -> Result<Vec<Stat>, Error> = File::entries;
    let _: fn(File) -> Result<(), Error> = File::clunk;
    let _: fn(File) -> Result<(), Error> = File::remove;
    let _: [u8; 6] = [OREAD, OWRITE, ORDWR, OEXEC, OTRUNC, ORCLOSE];
    let _: fn(&Qid) -> bool = Qid::is_directory;
}

/// A description may be taken apart without a wildcard; errors may be added.
#[test]
fn results_can_be_taken_apart() {
    let apart = |stat: Stat| {
        let Stat { qid, mode, atime, mtime, length, name, uid, gid, muid } = stat;
        let Qid { kind, version, path } = qid;
        let _: ([u32; 4], [u64; 2], [String; 4], u8) =
            ([mode, atime, mtime, version], [length, path], [name, uid, gid, muid], kind);
    };
    let _: fn(Stat) = apart;
    let kind = |error: Error| match error {
        Error::Refused(text) => text.len(),
        Error::Protocol(text) => text.len(),
        Error::Connection(mux::Error::HungUp) => 1,
        Error::Connection(_) => 2,
        Error::Io(error) => error.to_string().len(),
        Error::NoFid | Error::TooLong => 0,
        _ => 3,
    };
    assert_eq!(kind(Error::Refused("no".to_string())), 2);
    assert_eq!(io::Error::from(Error::TooLong).kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn types_implement_their_traits() {
    fn any_thread<T: Send + Sync + 'static>() {}
    fn task<T: Future<Output = Result<V, Error>> + Send + Unpin + Debug + 'static, V>() {}
    fn file<T: Read + Write + Seek + Debug>() {}
    fn error<T: std::error::Error + Into<io::Error> + From<mux::Error> + From<io::Error>>() {}
    fn value<T: Clone + PartialEq + Eq + Debug>() {}
    fn copied<T: Copy + std::hash::Hash>() {}
    fn shared<T: Clone + Debug>() {}
    fn stream<T: From<UnixStream> + From<TcpStream> + Debug>() {}

    any_thread::<Client>();
    any_thread::<File>();
    any_thread::<Error>();
    task::<Transfer<Vec<u8>>, Vec<u8>>();
    task::<Transfer<usize>, usize>();
    file::<File>();
    error::<Error>();
    value::<Stat>();
    value::<Qid>();
    copied::<Qid>();
    shared::<Client>();
    stream::<ServerStream>();
}
