//! The attributes of a file: a stat, or the reply to Tgetattr.

use super::files::{DMDIR, File};
use crate::engine::Engine;
use crate::wire::Dialect;

/// The attributes that the reply to Tgetattr has: all that Linux asks for.
const BASIC: u64 = 0x7FF;

/// Types of files in the mode of Linux.
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;

fn append_string(bytes: &mut Vec<u8>, string: &str) {
    bytes.extend((string.len() as u16).to_le_bytes());
    bytes.extend(string.as_bytes());
}

impl Engine {
    /// Appends the body of the reply to a Tstat, or to a Tgetattr in 9P2000.L.
    pub(super) fn append_attributes(&self, reply: &mut Vec<u8>, file: File, dialect: Dialect) {
        if dialect != Dialect::L {
            let stat = self.stat(file, dialect);
            reply.extend((stat.len() as u16).to_le_bytes());
            reply.extend(stat);
            return;
        }
        let (uid, gid) = self.config.control.as_ref().map_or((0, 0), |tree| (tree.uid, tree.gid));
        let kind = if file.is_dir() { S_IFDIR } else { S_IFREG };
        reply.extend(BASIC.to_le_bytes());
        reply.extend(file.qid());
        for number in [kind | file.permissions(), uid, gid] {
            reply.extend(number.to_le_bytes());
        }
        // nlink, rdev, size, blksize, blocks
        let links = if file.is_dir() { 2 } else { 1 };
        for number in [links, 0, 0, 4096, 0] {
            reply.extend(u64::to_le_bytes(number));
        }
        // The times of the last access, modification and change have seconds and nanoseconds.
        for _ in 0..3 {
            reply.extend(self.file_time().to_le_bytes());
            reply.extend([0; 8]);
        }
        // The time of creation, the generation and the version are not known.
        reply.extend([0; 32]);
    }

    /// Returns the time of all files: they change all the time.
    fn file_time(&self) -> u64 {
        let epoch = self.config.control.as_ref().map_or(0, |tree| tree.epoch);
        epoch + self.now.as_secs()
    }

    /// Returns the stat of a file, with its size before it.
    pub(super) fn stat(&self, file: File, dialect: Dialect) -> Vec<u8> {
        let (uid, gid) = self.config.control.as_ref().map_or((0, 0), |tree| (tree.uid, tree.gid));
        let directory = if file.is_dir() { DMDIR } else { 0 };
        let time = self.file_time() as u32;
        // The size, the type and the device of the kernel.
        let mut stat = vec![0; 8];
        stat.extend(file.qid());
        for number in [directory | file.permissions(), time, time] {
            stat.extend(number.to_le_bytes());
        }
        // The length, as that of files of /proc.
        stat.extend([0; 8]);
        append_string(&mut stat, file.name());
        for owner in [uid, gid, uid] {
            append_string(&mut stat, &owner.to_string());
        }
        if dialect == Dialect::U {
            append_string(&mut stat, "");
            for owner in [uid, gid, uid] {
                stat.extend(owner.to_le_bytes());
            }
        }
        let size = stat.len() as u16 - 2;
        stat[..2].copy_from_slice(&size.to_le_bytes());
        stat
    }
}
