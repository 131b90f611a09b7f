//! The limits of the name tree.

use super::*;
use crate::engine::restore::budget::MAX_CLIENT_BYTES;

const MAKER: Maker = Maker { client: 0, user: 0 };

fn file(path: u64) -> FileId {
    FileId { kind: qid::DIRECTORY, path }
}

/// Returns a tree with a root, which is held.
fn tree() -> (Names, u32) {
    let mut names = Names::new(SeededState::new(1));
    let root = names.enter(NO_NODE, b"identity", file(0), MAKER).unwrap();
    names.hold(root);
    (names, root)
}

/// Makes a chain of nodes below `parent`, of which the last one is held. Returns them.
fn chain(names: &mut Names, parent: u32, name: &[u8], length: u64) -> Vec<u32> {
    let mut nodes = Vec::new();
    let mut at = parent;
    for i in 0..length {
        at = names.enter(at, name, file(i + 1), MAKER).unwrap();
        nodes.push(at);
    }
    names.hold(at);
    nodes
}

#[test]
fn rename_to_a_longer_name_obeys_the_limit_of_the_memory() {
    let (mut names, root) = tree();
    let mut gone = 0;
    for i in 0..300_u64 {
        let node = chain(&mut names, root, &i.to_le_bytes(), 1)[0];
        let name = [&i.to_le_bytes()[..], &[b'n'; 60_000]].concat();
        if !names.rename(node, root, &name) {
            gone += 1;
            assert!(names.nodes[node as usize].is_gone);
        }
    }
    assert!(names.budget.bytes() <= MAX_CLIENT_BYTES, "{}", names.budget.bytes());
    assert!(gone > 100, "{gone}");
    names.audit(&(0..names.nodes.len() as u32).map(|node| (node, 1)).collect());
}

#[test]
fn rename_obeys_the_limits_of_a_path() {
    let (mut names, root) = tree();
    let deep = chain(&mut names, root, b"d", MAX_DEPTH as u64);
    let leaf = chain(&mut names, root, b"leaf", 1)[0];
    assert!(names.rename(leaf, deep[MAX_DEPTH - 2], b"leaf"));
    assert!(names.path(leaf).is_some());
    assert!(!names.rename(leaf, deep[MAX_DEPTH - 1], b"leaf"));
    assert!(names.path(leaf).is_none());
    let (mut names, root) = tree();
    let wide = chain(&mut names, root, &[b'w'; 30_000], 2);
    let leaf = chain(&mut names, root, b"leaf", 1)[0];
    assert!(names.rename(leaf, wide[1], &[b'l'; 5_000]));
    assert!(!names.rename(leaf, wide[1], &[b'l'; 6_000]));
    assert!(names.path(leaf).is_none());
}

#[test]
fn climbs_from_a_tree_that_renames_have_made_deep_end() {
    let (mut names, root) = tree();
    let mut top = chain(&mut names, root, b"d", MAX_DEPTH as u64)[0];
    let mut last = names.nodes.len() as u32 - 1;
    // Each round moves the tree below another chain.
    for _ in 0..3 {
        let below = chain(&mut names, root, b"e", MAX_DEPTH as u64 - 1);
        assert!(names.rename(top, below[MAX_DEPTH - 2], b"d"));
        top = below[0];
        assert!(names.rename(top, root, b"d"));
    }
    assert_eq!((names.root_of(last), names.living_root(last)), (None, None));
    assert_eq!(names.enter(last, b"x", file(7), MAKER), None);
    assert!(names.path(last).is_none());
    // A rename in or below the deep part ends as well.
    assert!(!names.rename(top, last, b"x"));
    last = names.enter(root, b"other", file(8), MAKER).unwrap();
    names.hold(last);
    assert_eq!(names.root_of(last), Some(root));
}
