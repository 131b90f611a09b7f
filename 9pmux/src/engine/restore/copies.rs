//! Copies of the requests that have no reply, by upstream tag. A copy is as the server has received it.

use crate::wire::{HEADER, NOFID, put_u32, types};

/// The memory that is kept for the next copy of a tag.
const KEPT_CAPACITY: usize = 128;

/// The copy of a request.
#[derive(Default)]
pub struct Copy {
    pub bytes: Vec<u8>,
    /// The end of the request, counted in the bytes to this server.
    pub ends_at: u64,
    /// The number of writes that had replies when it was sent.
    pub serial: u32,
}

/// The maximum memory that is kept for further copies of large requests. New memory costs more than the copying.
const MAX_SPARE: usize = 4 << 20;

/// The number of spares that are examined for a copy.
const EXAMINED_SPARES: usize = 8;

/// The copies of all requests.
#[derive(Default)]
pub struct Copies {
    by_tag: Vec<Copy>,
    /// Memory of large copies that are not needed any more.
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
}

impl Copies {
    /// Keeps a copy of a request.
    pub fn keep(&mut self, tag: u16, message: &[u8], ends_at: u64, serial: u32) {
        if tag as usize >= self.by_tag.len() {
            self.by_tag.resize_with(tag as usize + 1, Copy::default);
        }
        let copy = &mut self.by_tag[tag as usize];
        let len = message.len();
        if len > KEPT_CAPACITY && copy.bytes.capacity() < len {
            // A copy is counted by its length, and must not have much more memory.
            let fits = |spare: &Vec<u8>| (len..=2 * len).contains(&spare.capacity());
            let last = self.spare.len().saturating_sub(EXAMINED_SPARES);
            if let Some(found) = self.spare[last..].iter().rposition(fits) {
                copy.bytes = self.spare.swap_remove(last + found);
                self.spare_bytes -= copy.bytes.capacity();
            }
        }
        copy.bytes.clear();
        copy.bytes.extend_from_slice(message);
        (copy.ends_at, copy.serial) = (ends_at, serial);
    }

    /// Returns the copy of a request. It has no bytes if there is none.
    pub fn get(&self, tag: u16) -> &[u8] {
        self.by_tag.get(tag as usize).map_or(&[], |copy| &copy.bytes)
    }

    /// Returns the end of a request in the bytes to this server.
    pub fn ends_at(&self, tag: u16) -> u64 {
        self.by_tag.get(tag as usize).map_or(0, |copy| copy.ends_at)
    }

    /// Gives a copy back that was taken, with the end and the number of writes of the request.
    pub fn put_back(&mut self, tag: u16, copy: Copy, ends_at: u64, serial: u32) {
        if let Some(place) = self.by_tag.get_mut(tag as usize) {
            *place = Copy { ends_at, serial, ..copy };
        }
    }

    /// Makes a copy that of a Tattach to this fid, with the tag that it has. Returns its length.
    pub fn replace_by_attach(&mut self, tag: u16, fid: u32, identity: &[u8]) -> usize {
        let Some(copy) = self.by_tag.get_mut(tag as usize) else {
            return 0;
        };
        let bytes = &mut copy.bytes;
        bytes.resize(HEADER, 0);
        bytes.extend_from_slice(&fid.to_le_bytes());
        bytes.extend_from_slice(&NOFID.to_le_bytes());
        bytes.extend_from_slice(identity);
        let len = bytes.len();
        put_u32(bytes, 0, len as u32);
        bytes[4] = types::TATTACH;
        len
    }

    /// Takes the copy of a request, which has no bytes if there is none. It should be given back by `recycle`.
    pub fn take(&mut self, tag: u16) -> Copy {
        self.by_tag.get_mut(tag as usize).map(std::mem::take).unwrap_or_default()
    }

    /// Keeps the memory of a copy that is not needed any more, if it is little or there is little in all.
    pub fn recycle(&mut self, tag: u16, copy: Copy) {
        let mut copy = copy;
        let capacity = copy.bytes.capacity();
        if copy.bytes.capacity() <= KEPT_CAPACITY {
            copy.bytes.clear();
            if let Some(place) = self.by_tag.get_mut(tag as usize) {
                *place = copy;
            }
        } else if self.spare_bytes + capacity <= MAX_SPARE {
            self.spare_bytes += capacity;
            self.spare.push(copy.bytes);
        }
    }

    /// Drops the copy of a request. Returns its length.
    pub fn drop(&mut self, tag: u16) -> usize {
        // The most frequent case.
        if let Some(copy) = self.by_tag.get_mut(tag as usize) {
            if copy.bytes.capacity() <= KEPT_CAPACITY {
                let n = copy.bytes.len();
                copy.bytes.clear();
                return n;
            }
        }
        let copy = self.take(tag);
        let n = copy.bytes.len();
        self.recycle(tag, copy);
        n
    }

    /// Returns the memory of all copies, and of what is kept for further ones.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        let copies = self.by_tag.iter().map(|copy| copy.bytes.capacity());
        copies.sum::<usize>() + self.spare_bytes
    }

    /// Returns the tags with copies, and their lengths.
    #[cfg(any(test, mux_fuzz))]
    pub fn lens(&self) -> impl Iterator<Item = (u16, usize)> {
        let copies = self.by_tag.iter().enumerate();
        copies.filter(|(_, copy)| !copy.bytes.is_empty()).map(|(i, c)| (i as u16, c.bytes.len()))
    }
}
