//! The invariants of the name tree.

use std::collections::{BTreeMap, BTreeSet};

use super::{NO_NODE, NODE_BYTES, Names};

impl Names {
    /// Checks that nodes are found by their names, and that their users are their children and `fids`. Returns their
    /// memory by client.
    pub fn audit(&self, fids: &BTreeMap<u32, u32>) -> BTreeMap<u32, usize> {
        let mut free = BTreeSet::new();
        let mut at = self.free;
        while at != NO_NODE {
            assert!(free.insert(at), "a free node is listed twice");
            at = self.nodes[at as usize].next;
        }
        let used = (0..self.nodes.len() as u32).filter(|node| !free.contains(node));
        let mut users = fids.clone();
        let mut len = 0;
        let mut made: BTreeMap<u32, usize> = BTreeMap::new();
        for node in used.clone() {
            let record = &self.nodes[node as usize];
            len += 1;
            *made.entry(record.maker).or_default() += NODE_BYTES + record.name.len();
            if record.parent != NO_NODE {
                *users.entry(record.parent).or_default() += 1;
                assert!(!free.contains(&record.parent), "the parent of a node is free");
            }
            let found = self.find(record.parent, &record.name);
            assert_eq!(found == Some(node), !record.is_gone, "node {node} is found");
        }
        assert_eq!(len, self.len, "nodes");
        for node in used {
            let counted = users.remove(&node).unwrap_or(0);
            assert_eq!(self.nodes[node as usize].users, counted, "users of node {node}");
            assert!(counted > 0, "node {node} has no user");
        }
        assert!(users.is_empty(), "a fid is at a node that is free");
        made
    }
}
