//! The user database: the login name of a user, and the number of a group.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// The size of the first buffer for the texts of an entry, and the size beyond which an entry is given up: a group may
/// have many members.
const BUFFER: usize = 1024;
const MAX_BUFFER: usize = 1 << 20;

/// The user that stands for users of another user namespace, unless the system has another number for it.
const OVERFLOW_UID: u32 = 65534;

/// Returns the login name of a user, if it has one.
pub fn user_name(uid: u32) -> io::Result<Option<String>> {
    look_up(
        |entry: *mut libc::passwd, buffer, size, found| {
            // SAFETY: `entry` and `found` can be written, and `buffer` has `size` bytes.
            unsafe { libc::getpwuid_r(uid, entry, buffer, size, found) }
        },
        |entry| {
            // SAFETY: the name of an entry that was found is a C string in the buffer, which still exists.
            let name = unsafe { CStr::from_ptr(entry.pw_name) };
            name.to_string_lossy().into_owned()
        },
    )
}

/// Returns the number of the group with this name, if there is one.
pub fn group_number(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    look_up(
        |entry: *mut libc::group, buffer, size, found| {
            // SAFETY: as above, and `name` is a C string.
            unsafe { libc::getgrnam_r(name.as_ptr(), entry, buffer, size, found) }
        },
        |entry| entry.gr_gid,
    )
}

/// Calls a function of the database, with a larger buffer for as long as it asks for one. Returns what `value` finds in
/// the entry.
fn look_up<E, T>(
    call: impl Fn(*mut E, *mut c_char, usize, *mut *mut E) -> c_int,
    value: impl Fn(&E) -> T,
) -> io::Result<Option<T>> {
    let mut size = BUFFER;
    loop {
        let mut entry = MaybeUninit::uninit();
        let mut buffer: Vec<c_char> = vec![0; size];
        let mut found = std::ptr::null_mut();
        let error = call(entry.as_mut_ptr(), buffer.as_mut_ptr(), size, &mut found);
        match error {
            libc::EINTR => {}
            libc::ERANGE if size < MAX_BUFFER => size *= 4,
            // Some systems report an entry that does not exist as an error.
            0 | libc::ENOENT | libc::ESRCH if found.is_null() => return Ok(None),
            // SAFETY: the call has succeeded, so `found` is `entry`, which it has written.
            0 => return Ok(Some(value(unsafe { &*found }))),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Returns the user that the system reports in place of a user that it cannot name, as one of another user namespace.
pub fn overflow_uid() -> u32 {
    static UID: OnceLock<u32> = OnceLock::new();
    *UID.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(OVERFLOW_UID)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found() {
        assert_eq!(user_name(0).unwrap().as_deref(), Some("root"));
        assert_eq!(user_name(u32::MAX - 7).unwrap(), None);
        let gid = group_number("root").or(group_number("wheel")).unwrap();
        assert_eq!(gid, Some(0));
        assert_eq!(group_number("no such group").unwrap(), None);
        assert!(group_number("a\0b").is_err());
    }

    #[test]
    fn buffer_grows_as_the_entry_needs() {
        let needed = 100 * BUFFER;
        let call = |entry: *mut u8, _: *mut c_char, size: usize, found: *mut *mut u8| {
            if size < needed {
                return libc::ERANGE;
            }
            // SAFETY: both can be written.
            unsafe {
                entry.write(7);
                found.write(entry);
            }
            0
        };
        assert_eq!(look_up(call, |entry| *entry).unwrap(), Some(7));
        let never = |_: *mut u8, _: *mut c_char, _: usize, _: *mut *mut u8| libc::ERANGE;
        assert_eq!(look_up(never, |entry| *entry).unwrap_err().raw_os_error(), Some(libc::ERANGE));
    }

    #[test]
    fn unnamed_user_is_not_root() {
        assert_ne!(overflow_uid(), 0);
    }
}
