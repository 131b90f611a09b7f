//! Sockets in the file system: made under a name, and removed again.
//!
//! A program that is killed leaves its socket behind. Such a socket is replaced if connecting to it fails
//! with ECONNREFUSED; with any other result it is in use. Between that check and the creation of the new
//! socket a second 9pmux might do the same, so both happen under a lock of the directory. The lock belongs
//! to a descriptor: it ends with the process and leaves no file behind. The socket is made under a draft
//! name with its mode and gets its own name when it listens, so a program that sees it can connect.
//!
//! The mode is never set by name: in a directory that other users can write to, a name may have become a
//! link to another file.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, chmodat, chownat, flock, linkat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};

use super::announce::BACKLOG;
use super::descriptors::limit_hint;
use super::failure::error_text;

/// How long to wait for another 9pmux that holds the lock of the directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The error if the name has been taken between the check and the creation of the socket.
const JUST_MADE: &str = "another program has just made it: choose another name";

/// The name of a socket in a draft directory.
const DRAFT: &str = "s";

/// How many draft names are tried before posting fails.
const MAX_DRAFTS: usize = 16;

/// The name of a socket that this process has made. Dropping it removes the name.
#[derive(Debug)]
pub struct PostedSocket {
    path: PathBuf,
    identity: (u64, u64),
}

/// The device and the inode. A name may come to mean another file; these two stay with the socket while it
/// is open.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

impl PostedSocket {
    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PostedSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The permissions of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The user alone: the mode is 0600.
    Private,
    /// As the umask permits: the mode is 0777 without its bits.
    Umask,
    /// This mode, and this group instead of the user's.
    Shared { mode: u32, group: Option<u32> },
}

/// The mode of a socket that is the user's alone.
pub const PRIVATE: u32 = 0o600;

/// Makes a listening socket under the name `path`. The error text says what to do.
pub fn post(path: &Path, access: Access) -> Result<(OwnedFd, PostedSocket), String> {
    let random = || RandomState::new().build_hasher().finish();
    post_with(path, access, (0..MAX_DRAFTS).map(|_| format!(".9pmux.{:08x}", random() as u32)))
}

/// As [`post`], with these draft names, which are tried in turn.
fn post_with(
    path: &Path,
    access: Access,
    drafts: impl Iterator<Item = String>,
) -> Result<(OwnedFd, PostedSocket), String> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let _lock = lock(directory)?;
    if SocketAddrUnix::new(path).is_err() {
        return Err("the path is too long for a socket: choose a shorter one".to_owned());
    }
    remove_stale(path)?;
    if let Access::Shared { mode, group } = access {
        return post_shared(directory, path, (mode, group), drafts);
    }
    let (socket, draft) = bind_draft(directory, path, access, drafts)?;
    publish(&socket, &draft, path).map(|posted| (socket, posted)).map_err(posting_error)
}

/// Locks the directory, if it may be opened. The wait is bounded: in a directory of all users, any of them
/// could hold the lock for ever. Without the lock, only two processes that replace the same stale socket
/// at the same moment can disturb each other.
fn lock(directory: &Path) -> Result<Option<fs::File>, String> {
    let file = match fs::File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        other => other.map_err(|error| {
            format!("{}: {}: choose a directory of yours", directory.display(), error_text(&error))
        })?,
    };
    let since = Instant::now();
    while flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
        && since.elapsed() < LOCK_TIMEOUT
    {
        sleep(Duration::from_millis(5));
    }
    Ok(Some(file))
}

/// The text for an error of a call that makes a file in the directory.
fn in_directory(error: Errno) -> String {
    match error {
        Errno::NAMETOOLONG => "the path is too long for a socket: choose a shorter one".to_owned(),
        Errno::MFILE | Errno::NFILE => {
            format!("{}{}", error_text(&error.into()), limit_hint(error))
        }
        _ => format!("{}: choose a directory of yours", error_text(&error.into())),
    }
}

/// Removes the socket of an earlier program. Fails if the name is in use.
fn remove_stale(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error_text(&error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err("a file of that name exists and is not a socket: choose another name, or remove the file".to_owned());
        }
        Ok(_) => {}
    }
    let try_connect = || {
        let client = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
        // A program that is busy must not make this call wait.
        rustix::io::ioctl_fionbio(&client, true)?;
        connect(&client, &SocketAddrUnix::new(path)?)
    };
    match try_connect() {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(|error| {
            format!(
                "the stale socket cannot be removed: {}: choose another name",
                error_text(&error)
            )
        }),
        Err(Errno::NOENT) => Ok(()),
        Err(error @ (Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG)) => {
            Err(format!("{}: choose another name", error_text(&error.into())))
        }
        // A full queue, or a socket of another type, also means that a program listens.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS | Errno::PROTOTYPE) => {
            Err("it is in use by a running program: choose another name, or stop that program"
                .to_owned())
        }
        Err(error) => Err(format!(
            "cannot connect to the socket of that name: {}{}",
            error_text(&error.into()),
            limit_hint(error)
        )),
    }
}

/// Makes a socket and binds it to the first draft name that is free. If a draft name makes the path too long for a
/// socket, though `path` is not, the socket is bound to `path` itself; a program may then see it shortly before it
/// listens.
fn bind_draft(
    directory: &Path,
    path: &Path,
    access: Access,
    drafts: impl Iterator<Item = String>,
) -> Result<(OwnedFd, PathBuf), String> {
    let mut taken = None;
    for name in drafts {
        let draft = match directory.join(name) {
            draft if SocketAddrUnix::new(&draft).is_ok() => draft,
            _ => path.to_owned(),
        };
        match bind_socket(&draft, access) {
            Ok(socket) => return Ok((socket, draft)),
            Err(Errno::ADDRINUSE) if draft == path => return Err(JUST_MADE.to_owned()),
            Err(Errno::ADDRINUSE) => taken = Some(draft),
            Err(error) => return Err(in_directory(error)),
        }
    }
    Err(draft_is_taken(&taken.unwrap_or_else(|| path.to_owned())))
}

/// The text for draft names that are all taken.
fn draft_is_taken(draft: &Path) -> String {
    format!(
        "the temporary name {} is taken: remove that file, or choose a directory of yours",
        draft.display()
    )
}

/// Makes a socket that is bound to this name, with its mode from the beginning.
fn bind_socket(path: &Path, access: Access) -> Result<OwnedFd, Errno> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    let address = SocketAddrUnix::new(path)?;
    if access == Access::Umask {
        bind(&socket, &address)?;
        return Ok(socket);
    }
    // Linux gives the file the mode of the socket. Other systems have the umask alone, which is the whole
    // process's.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &address)?;
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let old = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = bind(&socket, &address);
        rustix::process::umask(old);
        bound?;
    }
    Ok(socket)
}

/// As [`post`], with this mode and this group. The socket is made in a directory of its own that only the user may enter,
/// so that no other name can be put in its place before it has both. It gets its name, as a link, when it listens.
fn post_shared(
    directory: &Path,
    path: &Path,
    (mode, group): (u32, Option<u32>),
    drafts: impl Iterator<Item = String>,
) -> Result<(OwnedFd, PostedSocket), String> {
    let mut taken = None;
    for name in drafts {
        let draft = directory.join(name);
        match rustix::fs::mkdir(&draft, Mode::RWXU) {
            Err(Errno::EXIST) => taken = Some(draft),
            Err(error) => return Err(in_directory(error)),
            Ok(()) => {
                let shared = make_shared(&draft, path, mode, group);
                let _ = fs::remove_dir(&draft);
                return shared;
            }
        }
    }
    Err(draft_is_taken(&taken.unwrap_or_else(|| path.to_owned())))
}

/// Makes a socket in the draft directory, and links it to its name. The draft of the socket is removed.
fn make_shared(
    draft: &Path,
    path: &Path,
    mode: u32,
    group: Option<u32>,
) -> Result<(OwnedFd, PostedSocket), String> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = rustix::fs::open(draft, flags, Mode::empty()).map_err(in_directory)?;
    let socket = bind_socket(&draft.join(DRAFT), Access::Private).map_err(in_directory)?;
    let posted = (|| {
        // By the directory's descriptor: its name may mean another directory by now.
        if let Some(group) = group {
            let group = Some(Gid::from_raw(group));
            chownat(&inside, DRAFT, None, group, AtFlags::SYMLINK_NOFOLLOW).map_err(in_group)?;
        }
        chmodat(&inside, DRAFT, Mode::from_raw_mode(mode as _), AtFlags::empty())
            .map_err(in_directory)?;
        listen(&socket, BACKLOG).map_err(in_directory)?;
        linkat(&inside, DRAFT, CWD, path, AtFlags::empty()).map_err(posting_error)?;
        let identity = identity(path).map_err(|error| error_text(&error))?;
        Ok(PostedSocket { path: path.to_owned(), identity })
    })();
    let _ = unlinkat(&inside, DRAFT, AtFlags::empty());
    posted.map(|posted| (socket, posted))
}

/// The text for an error of the change of the group.
fn in_group(error: Errno) -> String {
    format!("the group: {}: choose a group that you are in", error_text(&error.into()))
}

/// The text for an error of the link that gives a socket its name.
fn posting_error(error: Errno) -> String {
    match error {
        Errno::EXIST => JUST_MADE.to_owned(),
        _ => in_directory(error),
    }
}

/// Starts to listen and gives the socket its name. The draft name is removed.
fn publish(socket: &OwnedFd, draft: &Path, path: &Path) -> Result<PostedSocket, Errno> {
    let published = (|| {
        listen(socket, BACKLOG)?;
        if draft != path {
            // A link fails if the name exists by now; a rename would replace that file.
            rustix::fs::link(draft, path)?;
        }
        let identity =
            identity(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(PostedSocket { path: path.to_owned(), identity })
    })();
    if draft != path || published.is_err() {
        let _ = fs::remove_file(draft);
    }
    published
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
        let (_socket, posted) = post(&path, Access::Private).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(posted);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_stale_socket_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        assert!(post(&path, Access::Private).unwrap_err().contains("in use"));
        drop(listener);
        post(&path, Access::Private).unwrap();
        assert!(!path.exists());
        fs::write(&path, "something").unwrap();
        assert!(post(&path, Access::Private).unwrap_err().contains("not a socket"));
        assert_eq!(fs::read(&path).unwrap(), b"something");
    }

    #[test]
    fn draft_names_that_are_taken_are_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        // cannot be removed, as a file of another user in a sticky directory cannot
        fs::create_dir_all(directory.path().join("taken/kept")).unwrap();
        let drafts = ["taken", "free"].map(str::to_owned);
        post_with(&path, Access::Private, drafts.into_iter()).unwrap();
        let error =
            post_with(&path, Access::Private, ["taken".to_owned()].into_iter()).unwrap_err();
        assert!(error.contains("the temporary name") && error.contains("/taken"), "{error}");
        assert!(directory.path().join("taken/kept").exists());
    }

    /// A thread replaces the draft by a link as soon as the draft exists.
    #[test]
    fn posting_never_changes_the_mode_of_another_file() {
        let directory = tempfile::tempdir().unwrap();
        let (path, draft) = (directory.path().join("s"), directory.path().join("draft"));
        let other = directory.path().join("other");
        fs::write(&other, "").unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    if fs::rename(&draft, directory.path().join("moved")).is_ok() {
                        let _ = std::os::unix::fs::symlink(&other, &draft);
                    }
                }
            });
            for _ in 0..500 {
                let _ = fs::remove_file(&draft);
                drop(post_with(&path, Access::Private, ["draft".to_owned()].into_iter()));
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o644);
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
        let (_socket, posted) = post(&path, Access::Private).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        UnixStream::connect(&path).unwrap();
        assert!(post(&path, Access::Private).unwrap_err().contains("in use"));
        drop(posted);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    /// The superuser may read every directory, so the test has no effect for it.
    #[test]
    fn a_directory_without_read_permission_is_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let may = |mode| {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        };
        may(0o300);
        let posted = post(&path, Access::Private);
        let called = UnixStream::connect(&path);
        may(0o700);
        posted.unwrap();
        called.unwrap();
    }

    #[test]
    fn a_name_that_another_program_has_taken_over_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (_socket, posted) = post(&path, Access::Private).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(posted);
        assert!(path.exists());
    }

    /// Returns a group that the process may give to a file.
    fn some_group() -> u32 {
        match rustix::process::geteuid().is_root() {
            true => 12_345,
            false => rustix::process::getegid().as_raw(),
        }
    }

    /// A thread looks at the name all the time.
    #[test]
    fn shared_socket_has_its_mode_and_group_from_the_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let done = std::sync::atomic::AtomicBool::new(false);
        let group = some_group();
        let seen = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut seen = std::collections::BTreeSet::new();
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    if let Ok(found) = fs::symlink_metadata(&path) {
                        seen.insert((found.mode() & 0o7777, found.gid()));
                    }
                }
                seen
            });
            for _ in 0..300 {
                let access = Access::Shared { mode: 0o666, group: Some(group) };
                let (_socket, posted) = post(&path, access).unwrap();
                let found = fs::metadata(&path).unwrap();
                assert_eq!((found.mode() & 0o7777, found.gid()), (0o666, group));
                UnixStream::connect(&path).unwrap();
                drop(posted);
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
            watcher.join().unwrap()
        });
        assert!(seen.iter().all(|seen| *seen == (0o666, group)), "{seen:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn shared_socket_replaces_only_what_is_stale() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let access = Access::Shared { mode: 0o660, group: None };
        let posted = post(&path, access).unwrap();
        assert!(post(&path, access).unwrap_err().contains("in use"));
        drop(posted);
        fs::write(&path, "something").unwrap();
        assert!(post(&path, access).unwrap_err().contains("not a socket"));
        fs::remove_file(&path).unwrap();
        let drafts = ["taken", "free"].map(str::to_owned);
        fs::create_dir(directory.path().join("taken")).unwrap();
        post_with(&path, access, drafts.into_iter()).unwrap();
        let error = post_with(&path, access, ["taken".to_owned()].into_iter()).unwrap_err();
        assert!(error.contains("the temporary name") && error.contains("/taken"), "{error}");
        // The path of the socket itself would fit.
        let long = directory.path().join("x".repeat(95 - directory.path().as_os_str().len()));
        fs::create_dir(&long).unwrap();
        assert!(post(&long.join("s"), access).unwrap_err().contains("too long"));
        assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    /// The superuser may give a file to any group, so the test has no effect for it.
    #[test]
    fn group_of_others_is_an_error_and_leaves_nothing() {
        if rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let access = Access::Shared { mode: 0o660, group: Some(12_345) };
        let error = post(&directory.path().join("s"), access).unwrap_err();
        assert!(error.contains("choose a group"), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_impossible_path_is_an_error_with_advice() {
        assert!(
            post(Path::new("/nowhere/at/all"), Access::Private).unwrap_err().contains("choose")
        );
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("x".repeat(120));
        assert!(post(&long, Access::Private).is_err());
    }
}
