//! The place of each upstream fid: its node, how it was opened, and what a loss of the server means for it.

use super::names::{FileId, NO_NODE, Names};

/// A fid that cannot be restored: its names are unknown, or too many.
pub const UNKNOWN: u32 = NO_NODE;
/// A fid that was reached from an attach with an afid.
pub const AUTHENTICATED: u32 = NO_NODE - 1;
/// An auth fid.
pub const AUTH: u32 = NO_NODE - 2;
/// A fid to read an extended attribute.
pub const XATTR: u32 = NO_NODE - 3;
/// A fid to write an extended attribute, which its Tclunk makes effective.
pub const XATTR_WRITE: u32 = NO_NODE - 4;

/// The place of a fid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// A node, or one of the constants above.
    pub node: u32,
    /// The flags or the mode by which it was opened.
    pub mode: u32,
    /// Whether a file is open on it.
    pub is_open: bool,
    /// Whether its next Tfsync must say that writes may be lost.
    pub has_lost_writes: bool,
    /// Whether its directory must be read from the beginning.
    pub must_read_anew: bool,
    /// Whether its replay has begun: a request of the replay for it is at the server, or waits to be sent.
    pub is_begun: bool,
    /// Whether a request of the replay for it is at the server.
    pub is_busy: bool,
    /// Whether a request waits for it.
    pub is_wanted: bool,
    /// Whether an attempt to restore it has ended because the server did not reply any more.
    pub has_blocked: bool,
}

impl Place {
    /// The place of a fid that has not been recorded.
    pub const NONE: Place = Place {
        node: UNKNOWN,
        mode: 0,
        is_open: false,
        has_lost_writes: false,
        must_read_anew: false,
        is_begun: false,
        is_busy: false,
        is_wanted: false,
        has_blocked: false,
    };

    /// Returns the place of a fid that a walk has created.
    pub fn at(node: u32) -> Place {
        Place { node, ..Place::NONE }
    }

    /// Returns the node, if the place has one.
    pub fn node(&self) -> Option<u32> {
        (self.node < XATTR_WRITE).then_some(self.node)
    }
}

/// The places of all upstream fids, by number. A place holds its node.
#[derive(Default)]
pub struct Places {
    places: Vec<Place>,
}

impl Places {
    /// Returns the place of a fid.
    pub fn get(&self, fid: u32) -> Place {
        self.places.get(fid as usize).copied().unwrap_or(Place::NONE)
    }

    /// Returns the place of a fid, to change all but its node.
    pub fn get_mut(&mut self, fid: u32) -> &mut Place {
        if fid as usize >= self.places.len() {
            self.places.resize(fid as usize + 1, Place::NONE);
        }
        &mut self.places[fid as usize]
    }

    /// Changes the place of a fid.
    pub fn set(&mut self, names: &mut Names, fid: u32, place: Place) {
        if let Some(node) = place.node() {
            names.hold(node);
        }
        let before = std::mem::replace(self.get_mut(fid), place);
        if let Some(node) = before.node() {
            names.release(node);
        }
    }

    /// The connection of a replay is lost: that of no fid has begun, and none is wanted.
    pub fn clear_marks(&mut self) {
        for place in &mut self.places {
            (place.is_begun, place.is_busy, place.is_wanted) = (false, false, false);
        }
    }

    /// A fid has been freed.
    pub fn forget(&mut self, names: &mut Names, fid: u32) {
        if let Some(place) = self.places.get_mut(fid as usize) {
            let before = std::mem::replace(place, Place::NONE);
            if let Some(node) = before.node() {
                names.release(node);
            }
        }
    }

    /// Returns memory of the places above the highest fid.
    pub fn truncate(&mut self, fids: usize) {
        if self.places.len() > 2 * fids + 64 {
            self.places.truncate(fids);
            self.places.shrink_to_fit();
        }
    }

    /// Returns the file of a fid, if it is known.
    pub fn file(&self, names: &Names, fid: u32) -> Option<FileId> {
        Some(names.file(self.get(fid).node()?))
    }

    /// Returns the number of fids at each node.
    #[cfg(any(test, mux_fuzz))]
    pub fn users(&self) -> std::collections::BTreeMap<u32, u32> {
        let mut users = std::collections::BTreeMap::new();
        for node in self.places.iter().filter_map(Place::node) {
            *users.entry(node).or_default() += 1;
        }
        users
    }
}
