//! The fids of one client in the control tree.

use std::collections::HashMap;
use std::sync::Arc;

use super::files::File;
use super::{Control, MAX_CLIENT_TEXTS, MAX_TEXTS, Tokens};
use crate::engine::hasher::SeededState;

/// The text of a file, as it was when the file was opened. It stays the same, so that reads at all offsets agree.
pub struct Text {
    pub bytes: Vec<u8>,
    _counted: Arc<()>,
}

/// The use for which a local fid is open.
pub enum Opened {
    No,
    /// The root, with the offset at which the last read of 9P2000 has ended.
    Directory {
        end: u64,
    },
    Text(Text),
    Commands,
}

/// A fid in the control tree.
pub struct LocalFid {
    pub file: File,
    pub opened: Opened,
}

/// The local fids of one client, by the client's numbers.
pub struct LocalFids {
    by_name: HashMap<u32, LocalFid, SeededState>,
    _counted: Arc<()>,
}

impl LocalFids {
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn contains(&self, name: u32) -> bool {
        self.by_name.contains_key(&name)
    }

    pub fn get(&mut self, name: u32) -> Option<&mut LocalFid> {
        self.by_name.get_mut(&name)
    }

    /// Adds a fid that is not open.
    pub fn add(&mut self, name: u32, file: File) {
        self.by_name.insert(name, LocalFid { file, opened: Opened::No });
    }

    pub fn remove(&mut self, name: u32) {
        self.by_name.remove(&name);
    }

    /// Returns the number of texts.
    fn texts(&self) -> usize {
        self.by_name.values().filter(|fid| matches!(fid.opened, Opened::Text(_))).count()
    }

    /// Returns true if one more text would be too many.
    pub fn has_max_texts(&self, control: &Control) -> bool {
        self.texts() >= MAX_CLIENT_TEXTS || control.tokens.texts() >= MAX_TEXTS
    }
}

impl Tokens {
    /// Returns the number of texts of all clients.
    pub fn texts(&self) -> usize {
        Arc::strong_count(&self.texts) - 1
    }

    /// Returns the number of sessions with a table of local fids.
    pub fn sessions(&self) -> usize {
        Arc::strong_count(&self.sessions) - 1
    }
}

impl Control {
    pub fn new_text(&self, bytes: Vec<u8>) -> Text {
        Text { bytes, _counted: self.tokens.texts.clone() }
    }

    pub fn new_fids(&self, hasher: SeededState) -> Box<LocalFids> {
        let by_name = HashMap::with_hasher(hasher);
        Box::new(LocalFids { by_name, _counted: self.tokens.sessions.clone() })
    }
}
