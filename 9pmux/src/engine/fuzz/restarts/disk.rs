//! A tree of files that outlives the sessions of its servers, and the programs that change it meanwhile.
//!
//! A file consists of cells of eight bytes: the number of its inode, and the mark of the write that the cell is from.
//! Whatever is read from a file therefore names the file.

use std::collections::BTreeMap;

use super::super::bytes::Bytes;

pub const ROOT: u64 = 1;
pub const CELL: usize = 8;

/// The types of a qid.
pub const QT_DIR: u8 = 0x80;
pub const QT_APPEND: u8 = 0x40;
pub const QT_AUTH: u8 = 0x08;

/// The names that files have, and get from the programs beside 9pmux.
pub const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "log"];
/// The name of the directory in the root that some clients attach to.
pub const SUBTREE: &str = "e";
/// The name of the directories of the deep path.
pub const DEEP: &str = "x";
const DEPTH: usize = 20;

pub struct Inode {
    pub qtype: u8,
    pub version: u32,
    /// The entries of a directory.
    pub entries: BTreeMap<String, u64>,
    /// Where it is, unless it was removed.
    pub place: Option<(u64, String)>,
    pub cells: Vec<[u8; CELL]>,
    /// The cells as of the last synchronization.
    synced: Vec<[u8; CELL]>,
    /// 9pmux need not find it by the names that it knows: another program has changed them, or a request whose reply
    /// was lost.
    pub disturbed: bool,
}

pub struct Disk {
    inodes: BTreeMap<u64, Inode>,
    next: u64,
    pub root: u64,
}

/// The cell of a file that a write with this mark has written.
pub fn cell(inode: u64, mark: u32) -> [u8; CELL] {
    let mut cell = [0; CELL];
    cell[..4].copy_from_slice(&(inode as u32).to_le_bytes());
    cell[4..].copy_from_slice(&mark.to_le_bytes());
    cell
}

impl Disk {
    pub fn new() -> Disk {
        let mut disk = Disk { inodes: BTreeMap::new(), next: ROOT, root: ROOT };
        disk.root = disk.make_tree();
        disk
    }

    /// Adds a tree, and returns its root.
    fn make_tree(&mut self) -> u64 {
        let root = self.make(QT_DIR);
        for name in ["d", SUBTREE] {
            self.add_subtree(root, name);
        }
        self.add(root, "a", 0);
        let mut at = root;
        for _ in 0..DEPTH {
            at = self.add(at, DEEP, QT_DIR);
        }
        self.add(at, "a", 0);
        root
    }

    fn add_subtree(&mut self, root: u64, name: &str) {
        let directory = self.add(root, name, QT_DIR);
        for name in ["a", "b"] {
            self.add(directory, name, 0);
        }
        self.add(directory, "log", QT_APPEND);
        let inner = self.add(directory, "d", QT_DIR);
        self.add(inner, "c", 0);
    }

    /// Removes the directory that some clients attach to, with all that is below it, or makes it anew.
    fn change_subtree(&mut self) {
        match self.child(self.root, SUBTREE) {
            Some(subtree) => {
                self.disturb(subtree);
                self.get_mut(self.root).entries.remove(SUBTREE);
                self.get_mut(subtree).place = None;
            }
            None => self.add_subtree(self.root, SUBTREE),
        }
    }

    fn make(&mut self, qtype: u8) -> u64 {
        let number = self.next;
        self.next += 1;
        let cells = if qtype & QT_DIR == 0 { vec![cell(number, 0); 4] } else { Vec::new() };
        let inode = Inode {
            qtype,
            version: 0,
            entries: BTreeMap::new(),
            place: None,
            synced: cells.clone(),
            cells,
            disturbed: false,
        };
        self.inodes.insert(number, inode);
        number
    }

    /// Adds a file to a directory that has no such name.
    pub fn add(&mut self, parent: u64, name: &str, qtype: u8) -> u64 {
        let number = self.make(qtype);
        self.put(parent, name, number);
        number
    }

    pub fn get(&self, inode: u64) -> &Inode {
        &self.inodes[&inode]
    }

    pub fn get_mut(&mut self, inode: u64) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("inodes are not forgotten")
    }

    pub fn is_directory(&self, inode: u64) -> bool {
        self.get(inode).qtype & QT_DIR != 0
    }

    pub fn child(&self, parent: u64, name: &str) -> Option<u64> {
        self.get(parent).entries.get(name).copied()
    }

    /// Returns true if a file has a path in the tree that is served. One that was created in an earlier tree has none.
    pub fn is_in_tree(&self, inode: u64) -> bool {
        let mut at = inode;
        while let Some((parent, _)) = &self.get(at).place {
            at = *parent;
        }
        at == self.root
    }

    /// Walks one name; the parent of the root is the root.
    pub fn step(&self, from: u64, name: &str) -> Option<u64> {
        match name {
            ".." => Some(self.get(from).place.as_ref().map_or(from, |place| place.0)),
            _ => self.child(from, name),
        }
    }

    /// Returns the files of a directory, with their names.
    pub fn list(&self, parent: u64) -> Vec<(String, u64)> {
        self.get(parent).entries.iter().map(|(name, inode)| (name.clone(), *inode)).collect()
    }

    fn put(&mut self, parent: u64, name: &str, inode: u64) {
        self.get_mut(parent).entries.insert(name.to_owned(), inode);
        let place = Some((parent, name.to_owned()));
        self.get_mut(inode).place = place;
    }

    /// Removes a name. The file may be open still. Returns false if it is a directory with files.
    pub fn remove(&mut self, inode: u64) -> bool {
        if !self.get(inode).entries.is_empty() {
            return false;
        }
        let Some((parent, name)) = self.get_mut(inode).place.take() else {
            return false;
        };
        self.get_mut(parent).entries.remove(&name);
        true
    }

    /// Returns true if the one is the other, or is above it.
    fn is_above(&self, one: u64, other: u64) -> bool {
        let mut at = other;
        loop {
            if at == one {
                return true;
            }
            match &self.get(at).place {
                Some((parent, _)) => at = *parent,
                None => return false,
            }
        }
    }

    /// Moves a file to a name, which may be another file's. Returns false if that is not possible.
    pub fn rename(&mut self, inode: u64, parent: u64, name: &str) -> bool {
        if self.get(inode).place.is_none()
            || !self.is_directory(parent)
            || self.is_above(inode, parent)
        {
            return false;
        }
        if let Some(old) = self.child(parent, name) {
            if old == inode || !self.remove(old) {
                return false;
            }
        }
        let place = self.get_mut(inode).place.take();
        if let Some((from, old)) = place {
            self.get_mut(from).entries.remove(&old);
        }
        self.put(parent, name, inode);
        true
    }

    /// Records that the names of this file, and of all below it, are not what 9pmux knows.
    pub fn disturb(&mut self, inode: u64) {
        self.subtree(inode).into_iter().for_each(|file| self.get_mut(file).disturbed = true);
    }

    /// Returns this file and all below it.
    pub fn subtree(&self, inode: u64) -> Vec<u64> {
        let below = self.get(inode).entries.values().flat_map(|child| self.subtree(*child));
        below.chain([inode]).collect()
    }

    /// The server's computer has failed: what was not synchronized is lost, of files that `choose` names.
    pub fn lose_unsynced(&mut self, mut choose: impl FnMut() -> bool) {
        for inode in self.inodes.values_mut() {
            if inode.cells != inode.synced && choose() {
                inode.cells = inode.synced.clone();
            }
        }
    }

    pub fn sync(&mut self, inode: u64) {
        let inode = self.get_mut(inode);
        inode.synced = inode.cells.clone();
    }

    /// Writes cells, at the end if it is a file to append to.
    pub fn write(&mut self, inode: u64, at: usize, data: &[u8], appends: bool) {
        let inode = self.get_mut(inode);
        inode.version += 1;
        let appends = appends || inode.qtype & QT_APPEND != 0;
        let begin = if appends { inode.cells.len() } else { at };
        for (at, chunk) in (begin..).zip(data.chunks_exact(CELL)) {
            let cell: &[u8; CELL] = chunk.try_into().expect("a whole cell");
            if at >= inode.cells.len() {
                inode.cells.push(*cell);
            } else {
                inode.cells[at] = *cell;
            }
        }
    }

    /// Returns some of the cells of a file. A directory consists of cells of its own.
    pub fn read(&self, number: u64, at: usize, count: usize) -> Vec<u8> {
        let inode = self.get(number);
        let of_directory = vec![cell(number, 0); 3];
        let cells = if self.is_directory(number) { &of_directory } else { &inode.cells };
        cells.iter().skip(at).take(count / CELL).flatten().copied().collect()
    }

    /// Returns where each file is.
    pub fn places(&self) -> BTreeMap<u64, Option<(u64, String)>> {
        self.inodes.iter().map(|(number, inode)| (*number, inode.place.clone())).collect()
    }

    /// Returns the files that are elsewhere than they were.
    pub fn moved_since(&self, before: &BTreeMap<u64, Option<(u64, String)>>) -> Vec<u64> {
        let moved = |(number, inode): (&u64, &Inode)| {
            (before.get(number) != Some(&inode.place)).then_some(*number)
        };
        self.inodes.iter().filter_map(moved).collect()
    }

    /// Another program renames, replaces or removes files.
    pub fn other_program(&mut self, bytes: &mut Bytes<'_>) {
        let all: Vec<u64> = self.inodes.keys().copied().collect();
        let linked: Vec<u64> =
            all.into_iter().filter(|inode| self.get(*inode).place.is_some()).collect();
        let directories: Vec<u64> = linked
            .iter()
            .copied()
            .chain([self.root])
            .filter(|inode| self.is_directory(*inode))
            .collect();
        let (what, which) = (bytes.next(), bytes.next() as usize);
        let Some(&inode) = linked.get(which % linked.len().max(1)) else {
            return;
        };
        let (parent, name) = self.get(inode).place.clone().expect("it is linked");
        match what % 16 {
            // Another tree.
            0 if what == 0x10 => {
                self.disturb(self.root);
                self.root = self.make_tree();
            }
            0 if what & 0x10 == 0 => self.change_subtree(),
            0..5 => {
                let to = bytes.pick(&directories);
                let name = bytes.pick(&NAMES);
                let target = self.child(to, name);
                let (from_inode, to_inode) = (inode, target);
                if self.rename(from_inode, to, name) {
                    self.disturb(from_inode);
                    to_inode.into_iter().for_each(|old| self.disturb(old));
                }
            }
            // A file takes the place of another, as editors do it.
            5..11 => {
                self.disturb(inode);
                if self.remove(inode) {
                    let qtype = self.get(inode).qtype;
                    let new = self.add(parent, &name, qtype);
                    // Fids of the old file find it under a known name.
                    self.get_mut(new).disturbed = false;
                }
            }
            11..14 => {
                self.disturb(inode);
                self.remove(inode);
            }
            _ => {
                let to = bytes.pick(&directories);
                let name = bytes.pick(&NAMES);
                if self.child(to, name).is_none() {
                    self.add(to, name, bytes.pick(&[0, 0, QT_DIR, QT_APPEND]));
                }
            }
        }
    }
}
