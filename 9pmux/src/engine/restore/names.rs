//! The name tree: where the file of each fid is, so that another server can be asked for it.
//!
//! A *node* is a file that a client has reached by walking. It has a parent, a name, the type and the path of its
//! qid, and the number of its users: the fids at it, and its children. A root is an *identity*: its name is the
//! fields of the Tattach after the fids. All walks of all clients of one identity share the nodes. One table finds
//! a node by its parent and its name; the chains of the table are links between the nodes.
//!
//! | event | effect |
//! |---|---|
//! | a name is walked | the child is found or made; if its qid differs, a new node takes the place in the table |
//! | a file is renamed | its node moves, with the nodes below it; the node that had the new name is gone |
//! | a file is removed | its node is *gone*: it is in no table, and it has no path any more |
//! | the last user has left | the node is freed, and leaves its parent |
//!
//! A node never moves below itself, whatever the server permits, so that each path ends at a root.

#[cfg(any(test, mux_fuzz))]
mod audit;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher};

use super::budget::{Budget, Maker};
use crate::engine::hasher::SeededState;
use crate::wire::qid;

/// No node.
pub const NO_NODE: u32 = u32::MAX;

/// The maximum number of names of a path, and of their bytes.
pub const MAX_DEPTH: usize = 1024;
const MAX_PATH_BYTES: usize = 64 * 1024;

/// The memory of a node beyond its name.
const NODE_BYTES: usize = size_of::<Node>() + 8;

/// The part of a qid that identifies a file: type and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    pub kind: u8,
    pub path: u64,
}

impl FileId {
    /// Returns the file of a qid.
    pub fn of_qid(bytes: &[u8]) -> FileId {
        let path = bytes[5..qid::LEN].try_into().map_or(0, u64::from_le_bytes);
        FileId { kind: bytes[0], path }
    }

    pub fn is_dir(self) -> bool {
        self.kind & qid::DIRECTORY != 0
    }
}

struct Node {
    name: Box<[u8]>,
    path: u64,
    parent: u32,
    /// The next node of the same chain of the table, or of the list of free nodes.
    next: u32,
    users: u32,
    /// The client that has made it. Another client may have its index by now.
    maker: u32,
    /// The number of the last write that the server has acknowledged and not synced, or 0.
    written: u32,
    kind: u8,
    is_gone: bool,
}

/// All nodes.
pub struct Names {
    nodes: Vec<Node>,
    free: u32,
    len: usize,
    /// The first node of each chain. The length is a power of two.
    chains: Vec<u32>,
    hasher: SeededState,
    /// The memory of the nodes, and of the other records of clients.
    pub budget: Budget,
    /// The number of nodes that have moved or are gone: the paths of fids may have changed.
    changes: u64,
    /// The number of the last write to any file.
    writes: u32,
}

impl Names {
    pub fn new(hasher: SeededState) -> Names {
        Names {
            nodes: Vec::new(),
            free: NO_NODE,
            len: 0,
            chains: vec![NO_NODE; 16],
            hasher,
            budget: Budget::new(hasher),
            changes: 0,
            writes: 0,
        }
    }

    /// Returns the number of times that a node has moved or was marked as gone.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns the file of a node.
    pub fn file(&self, node: u32) -> FileId {
        let Node { kind, path, .. } = self.nodes[node as usize];
        FileId { kind, path }
    }

    /// Returns the name of a node. That of a root is its identity.
    pub fn name(&self, node: u32) -> &[u8] {
        &self.nodes[node as usize].name
    }

    /// Returns the parent of a node. A root is its own.
    pub fn parent(&self, node: u32) -> u32 {
        match self.nodes[node as usize].parent {
            NO_NODE => node,
            parent => parent,
        }
    }

    pub fn is_root(&self, node: u32) -> bool {
        self.nodes[node as usize].parent == NO_NODE
    }

    /// Returns the root above a node, and the number and the bytes of the names between them, if they are not too
    /// many. Renames can move a node with those below it to any depth.
    fn climb(&self, node: u32) -> Option<(u32, usize, usize)> {
        let (mut at, mut depth, mut bytes) = (node, 0, 0);
        while !self.is_root(at) {
            depth += 1;
            if depth > MAX_DEPTH {
                return None;
            }
            bytes += self.name(at).len();
            at = self.parent(at);
        }
        Some((at, depth, bytes))
    }

    /// Returns the root above a node, if it is not too far.
    pub fn root_of(&self, node: u32) -> Option<u32> {
        Some(self.climb(node)?.0)
    }

    /// Returns true if a node below `parent` may have a name of this length.
    fn fits_below(&self, parent: u32, len: usize) -> bool {
        let place = self.climb(parent);
        place.is_some_and(|(_, depth, bytes)| depth < MAX_DEPTH && bytes + len <= MAX_PATH_BYTES)
    }

    /// Returns the root above a node, if none of the nodes between them is gone.
    pub fn living_root(&self, node: u32) -> Option<u32> {
        let (mut at, mut depth) = (node, 0);
        while !self.nodes[at as usize].is_gone && depth <= MAX_DEPTH {
            if self.is_root(at) {
                return Some(at);
            }
            at = self.parent(at);
            depth += 1;
        }
        None
    }

    /// Returns the nodes from the root to a node, without the root, if none of them is gone and they are not too
    /// many.
    pub fn path(&self, node: u32) -> Option<Vec<u32>> {
        let mut path = Vec::new();
        let (mut at, mut bytes) = (node, 0);
        while !self.is_root(at) {
            bytes += self.name(at).len();
            if self.nodes[at as usize].is_gone || path.len() >= MAX_DEPTH || bytes > MAX_PATH_BYTES
            {
                return None;
            }
            path.push(at);
            at = self.parent(at);
        }
        path.reverse();
        (!self.nodes[at as usize].is_gone).then_some(path)
    }

    fn chain(&self, parent: u32, name: &[u8]) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(parent);
        hasher.write(name);
        hasher.finish() as usize & (self.chains.len() - 1)
    }

    /// Returns the node with this name.
    pub fn find(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let mut node = self.chains[self.chain(parent, name)];
        while node != NO_NODE {
            let record = &self.nodes[node as usize];
            if record.parent == parent && *record.name == *name {
                return Some(node);
            }
            node = record.next;
        }
        None
    }

    /// Returns the node with this name and file below `parent`, or a root if that is [`NO_NODE`]. The caller must
    /// hold it. Returns `None` if there is no node and the limits permit none.
    pub fn enter(&mut self, parent: u32, name: &[u8], file: FileId, maker: Maker) -> Option<u32> {
        if let Some(known) = self.find(parent, name) {
            if self.file(known) == file {
                return Some(known);
            }
            self.mark_gone(known);
        }
        let cost = NODE_BYTES + name.len();
        let is_root = parent == NO_NODE;
        if !is_root && !self.fits_below(parent, name.len()) || !self.budget.admits(maker, cost) {
            return None;
        }
        self.budget.add(maker, cost);
        let FileId { kind, path } = file;
        let name = name.into();
        let node = Node {
            name,
            path,
            parent,
            next: NO_NODE,
            users: 0,
            maker: maker.client,
            written: 0,
            kind,
            is_gone: false,
        };
        Some(self.add(node))
    }

    fn add(&mut self, record: Node) -> u32 {
        let parent = record.parent;
        let node = match self.free {
            NO_NODE => {
                self.nodes.push(record);
                self.nodes.len() as u32 - 1
            }
            free => {
                self.free = self.nodes[free as usize].next;
                self.nodes[free as usize] = record;
                free
            }
        };
        self.len += 1;
        if parent != NO_NODE {
            self.hold(parent);
        }
        self.link(node);
        if self.len > self.chains.len() {
            self.grow();
        }
        node
    }

    fn link(&mut self, node: u32) {
        let Node { parent, name, .. } = &self.nodes[node as usize];
        let chain = self.chain(*parent, name);
        self.nodes[node as usize].next = std::mem::replace(&mut self.chains[chain], node);
    }

    fn unlink(&mut self, node: u32) {
        let Node { parent, name, next, .. } = &self.nodes[node as usize];
        let (chain, next) = (self.chain(*parent, name), *next);
        if self.chains[chain] == node {
            self.chains[chain] = next;
            return;
        }
        let mut before = self.chains[chain];
        while self.nodes[before as usize].next != node {
            before = self.nodes[before as usize].next;
        }
        self.nodes[before as usize].next = next;
    }

    #[cold]
    fn grow(&mut self) {
        let heads = std::mem::take(&mut self.chains);
        self.chains = vec![NO_NODE; 2 * heads.len()];
        for mut node in heads {
            while node != NO_NODE {
                let next = self.nodes[node as usize].next;
                self.link(node);
                node = next;
            }
        }
    }

    /// Counts one more user of a node.
    pub fn hold(&mut self, node: u32) {
        self.nodes[node as usize].users += 1;
    }

    /// Counts one user less, and frees what has none any more.
    pub fn release(&mut self, node: u32) {
        let mut node = node;
        loop {
            let record = &mut self.nodes[node as usize];
            record.users -= 1;
            if record.users > 0 {
                return;
            }
            let parent = record.parent;
            self.free(node);
            if parent == NO_NODE {
                return;
            }
            node = parent;
        }
    }

    fn free(&mut self, node: u32) {
        if !self.nodes[node as usize].is_gone {
            self.unlink(node);
        }
        let free = self.free;
        let record = &mut self.nodes[node as usize];
        let cost = NODE_BYTES + record.name.len();
        record.name = Box::default();
        record.next = free;
        let maker = record.maker;
        self.free = node;
        self.len -= 1;
        self.budget.remove(maker, cost);
        if self.len == 0 {
            self.nodes = Vec::new();
            self.free = NO_NODE;
            self.chains = vec![NO_NODE; 16];
        }
    }

    /// Returns the number of the last write.
    pub fn writes(&self) -> u32 {
        self.writes
    }

    /// The server has acknowledged a write to a file.
    pub fn mark_written(&mut self, node: u32) {
        self.writes = self.writes.wrapping_add(1).max(1);
        self.nodes[node as usize].written = self.writes;
    }

    /// The server has synced a file. When it was asked, `writes` was the number of the last write.
    pub fn mark_synced(&mut self, node: u32, writes: u32) {
        let written = &mut self.nodes[node as usize].written;
        if writes.wrapping_sub(*written) < u32::MAX / 2 {
            *written = 0;
        }
    }

    /// Returns true if the server has acknowledged writes to a file that it has not synced.
    pub fn is_unsynced(&self, node: u32) -> bool {
        self.nodes[node as usize].written != 0
    }

    /// The server has gone, with what it had not synced.
    pub fn forget_writes(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.written = 0);
    }

    /// The file of a node has no name any more. The fids at it cannot be restored.
    pub fn mark_gone(&mut self, node: u32) {
        if !self.nodes[node as usize].is_gone {
            self.unlink(node);
            self.nodes[node as usize].is_gone = true;
            self.changes += 1;
        }
    }

    /// A file was renamed. Its node is marked as gone if it cannot have the new place: below itself, in the tree of
    /// another identity, or beyond the limits. Returns false for the limits.
    pub fn rename(&mut self, node: u32, parent: u32, name: &[u8]) -> bool {
        if let Some(replaced) = self.find(parent, name).filter(|replaced| *replaced != node) {
            self.mark_gone(replaced);
        }
        let is_gone = self.nodes[node as usize].is_gone;
        if is_gone || self.is_root(node) {
            return true;
        }
        let (before, after) = (self.name(node).len(), name.len());
        let maker = self.nodes[node as usize].maker;
        let fits = self.fits_below(parent, after)
            && (after <= before || self.budget.admits_growth(maker, after - before));
        if !fits || !self.may_be_below(node, parent) {
            self.mark_gone(node);
            return fits;
        }
        self.budget.resize(maker, before, after);
        self.unlink(node);
        self.hold(parent);
        let record = &mut self.nodes[node as usize];
        let above = std::mem::replace(&mut record.parent, parent);
        record.name = name.into();
        self.link(node);
        self.changes += 1;
        self.release(above);
        true
    }

    /// Returns true if `parent`, which is not too far from its root, is in the tree of `node` and not below it.
    fn may_be_below(&self, node: u32, parent: u32) -> bool {
        let mut at = parent;
        while !self.is_root(at) {
            if at == node {
                return false;
            }
            at = self.parent(at);
        }
        Some(at) == self.root_of(node)
    }
}
