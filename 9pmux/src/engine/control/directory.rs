//! The root as a directory: entries for Treaddir, and stats for a read in 9P2000 and 9P2000.u.

use super::files::File;
use crate::engine::Engine;
use crate::engine::local_error::LocalError;
use crate::wire::{Dialect, qid};

/// Types of Treaddir's entries, those of Linux.
const DT_DIR: u8 = 4;
const DT_REG: u8 = 8;

/// The entries of the root, each as bytes.
pub struct Entries(Vec<Vec<u8>>);

impl Entries {
    /// Appends whole entries from an offset of Treaddir's on, which is the number of an entry, at most `count` bytes.
    pub fn append_from(&self, offset: u64, count: usize, reply: &mut Vec<u8>) {
        let first = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let mut left = count;
        for entry in self.0[first..].iter().take_while(|entry| fits(entry, &mut left)) {
            reply.extend_from_slice(entry);
        }
    }

    /// Appends whole entries from an offset in bytes on, at most `count` bytes. Returns their length.
    ///
    /// # Errors
    /// The next entry does not fit.
    pub fn append_at(
        &self,
        offset: u64,
        count: usize,
        reply: &mut Vec<u8>,
    ) -> Result<usize, LocalError> {
        let (mut at, mut left, start) = (0, count, reply.len());
        for entry in &self.0 {
            if at >= offset {
                match fits(entry, &mut left) {
                    true => reply.extend_from_slice(entry),
                    false if reply.len() == start => return Err(LocalError::BadOffset),
                    false => break,
                }
            }
            at += entry.len() as u64;
        }
        Ok(reply.len() - start)
    }
}

/// Returns true if the entry fits into what is left, which becomes less.
fn fits(entry: &[u8], left: &mut usize) -> bool {
    let rest = left.checked_sub(entry.len());
    *left = rest.unwrap_or(0);
    rest.is_some()
}

/// Returns an entry of Treaddir, which is followed by the one with number `next`.
fn entry(file: File, name: &str, next: u64) -> Vec<u8> {
    let mut entry = Vec::with_capacity(qid::LEN + 11 + name.len());
    entry.extend(file.qid());
    entry.extend(next.to_le_bytes());
    entry.push(if file.is_dir() { DT_DIR } else { DT_REG });
    entry.extend((name.len() as u16).to_le_bytes());
    entry.extend(name.as_bytes());
    entry
}

impl Engine {
    /// Returns the entries of the root in the form of this dialect.
    pub(super) fn directory_entries(&self, dialect: Dialect) -> Entries {
        let files = File::in_root(self.knows_paths());
        if dialect != Dialect::L {
            return Entries(files.map(|file| self.stat(file, dialect)).collect());
        }
        let own = [(File::Root, "."), (File::Root, "..")].into_iter();
        let all = own.chain(files.map(|file| (file, file.name())));
        Entries(all.zip(1..).map(|((file, name), next)| entry(file, name, next)).collect())
    }
}
