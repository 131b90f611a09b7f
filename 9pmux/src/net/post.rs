//! A socket in the file system: posted under a name, and removed again.
//!
//! A name is left behind by whoever was killed. It is taken over if nobody listens there any more, which
//! is asked by calling it: ECONNREFUSED says so, and everything else means somebody. Between that
//! question and the new socket, another of us might do the same, so it is done under a lock of the
//! directory, which goes with its descriptor and leaves nothing behind. The socket gets its name when it
//! is complete (mode 0600, and listening), so that whoever sees it can call it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, process};

use rustix::fs::{FlockOperation, Mode, chmod, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};

use super::announce::BACKLOG;
use super::descriptors::limit_hint;
use super::failure::error_text;

/// How long another of us may be at it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The name of a socket of ours, as long as this is there.
#[derive(Debug)]
pub struct PostedSocket {
    path: PathBuf,
    identity: (u64, u64),
}

/// The device and the inode: a name can become somebody else's, these two do not while it is open.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl Drop for PostedSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Posts a socket that listens. An error is in error_text, with what to do.
pub fn post(path: &Path) -> Result<(OwnedFd, PostedSocket), String> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Not waited for long: in a directory of everybody's, anybody could hold it for ever. Without it, as
    // where one may make files and not look, only two that take over the same name at the same moment are
    // in danger.
    let lock = match fs::File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        other => Some(other.map_err(|error| {
            format!("{}: {}: choose a directory of yours", directory.display(), error_text(&error))
        })?),
    };
    let since = Instant::now();
    while lock.as_ref().is_some_and(|lock| {
        flock(lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
    }) && since.elapsed() < LOCK_TIMEOUT
    {
        sleep(Duration::from_millis(5));
    }
    if SocketAddrUnix::new(path).is_err() {
        return Err("the path is too long for a socket: choose a shorter one".to_owned());
    }
    remove_stale(path)?;
    let draft = directory.join(format!(".9pmux.{}", process::id()));
    create_socket(&draft, path).map_err(|error| match error {
        Errno::NAMETOOLONG => "the path is too long for a socket: choose a shorter one".to_owned(),
        Errno::EXIST => "somebody has just posted it: choose another name".to_owned(),
        Errno::MFILE | Errno::NFILE => {
            format!("{}{}", error_text(&error.into()), limit_hint(error))
        }
        _ => format!("{}: choose a directory of yours", error_text(&error.into())),
    })
}

/// Sees that nobody has the name, or nobody any more.
fn remove_stale(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error_text(&error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err("there is a file of that name, which is no socket: choose another name, or remove it".to_owned());
        }
        Ok(_) => {}
    }
    let try_connect = || {
        let caller = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        // One that is alive, and busy, should not keep us.
        rustix::io::ioctl_fionbio(&caller, true)?;
        connect(&caller, &SocketAddrUnix::new(path)?)
    };
    match try_connect() {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(|error| {
            format!(
                "it was left behind, and can not be removed: {}: choose another name",
                error_text(&error)
            )
        }),
        Err(Errno::NOENT) => Ok(()),
        Err(error @ (Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG)) => {
            Err(format!("{}: choose another name", error_text(&error.into())))
        }
        // One that takes its callers later, or another kind of them, is there too.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS | Errno::PROTOTYPE) => {
            Err("it is in use by a program that runs: choose another name, or stop that one"
                .to_owned())
        }
        Err(error) => {
            Err(format!("it can not be called: {}{}", error_text(&error.into()), limit_hint(error)))
        }
    }
}

fn create_socket(draft: &Path, path: &Path) -> Result<(OwnedFd, PostedSocket), Errno> {
    // Where that does not fit, though the path does, it has its name at once, and can be called a bit later.
    let draft = if SocketAddrUnix::new(draft).is_ok() { draft } else { path };
    if draft != path {
        // One of ours with this process's number that was killed right here.
        let _ = fs::remove_file(draft);
    }
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    bind(&socket, &SocketAddrUnix::new(draft)?).map_err(|error| match error {
        Errno::ADDRINUSE => Errno::EXIST,
        other => other,
    })?;
    let named = (|| {
        chmod(draft, Mode::RUSR | Mode::WUSR)?;
        listen(&socket, BACKLOG)?;
        if draft != path {
            // A link, and not a new name, which would replace what has come there meanwhile.
            rustix::fs::link(draft, path)?;
        }
        let identity =
            identity(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(PostedSocket { path: path.to_owned(), identity })
    })();
    if draft != path || named.is_err() {
        let _ = fs::remove_file(draft);
    }
    Ok((socket, named?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_name_is_posted_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (_socket, posted) = post(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(posted);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_left_behind_is_taken_over_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(post(&path).unwrap_err().contains("in use"));
        drop(listener);
        post(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, "something").unwrap();
        assert!(post(&path).unwrap_err().contains("no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"something");
    }

    #[test]
    fn a_path_as_long_as_one_can_be_is_posted() {
        let directory = tempfile::tempdir().unwrap();
        let mut path = directory.path().to_owned();
        let fits = |n: &usize| {
            UnixStream::connect("x".repeat(*n)).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
        };
        let most = (1..200).rfind(fits).unwrap();
        let rest = most - path.as_os_str().len() - "//s".len();
        path.push("d".repeat(rest));
        fs::create_dir(&path).unwrap();
        path.push("s");
        let (_socket, posted) = post(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        assert!(post(&path).unwrap_err().contains("in use"));
        drop(posted);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    /// To the superuser it is like any other.
    #[test]
    fn a_directory_in_which_one_may_not_look_is_good_enough() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let may = |mode| {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        };
        may(0o300);
        let posted = post(&path);
        let called = UnixStream::connect(&path);
        may(0o700);
        posted.unwrap();
        called.unwrap();
    }

    #[test]
    fn only_our_own_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (_socket, posted) = post(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(posted);
        assert!(path.exists());
    }

    #[test]
    fn a_path_that_can_not_be_is_refused_in_words() {
        assert!(post(Path::new("/nowhere/at/all")).unwrap_err().contains("choose"));
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("x".repeat(120));
        assert!(post(&long).is_err());
    }
}
