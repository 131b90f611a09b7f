//! Fids that are walked to and opened again.

use super::super::messages::*;
use super::bench::*;
use crate::engine::RestoreEvent;
use crate::wire::{Dialect, kind, types};

#[test]
fn fids_are_where_they_were() {
    for dialect in Dialect::ALL {
        let mut net = Net::new(dialect);
        let (a, b) = (net.attached(), net.attached());
        net.walks(a, 1, &["d", "f"]);
        net.opens(a, 1, 0);
        net.walks(b, 1, &["g"]);
        net.opens(b, 1, 0);
        net.walks(b, 2, &["d"]);
        for _ in 0..3 {
            net.lose();
            net.server.seen.clear();
            net.connect();
            assert_eq!(net.server.requests(types::TATTACH).len(), 1, "one identity");
            assert_eq!(net.server.requests(types::TWALK).len(), 5);
            let events = net.events();
            assert!(events.contains(&RestoreEvent::Restored { fids: 5, gone: 0 }), "{events:?}");
            assert_eq!((net.reads(a, 1), net.reads(b, 1)), ("file 3".into(), "file 4".into()));
            let reply = net.ask(b, &walk(5, 2, 3, &["f"]));
            assert_eq!(kind(&reply), 111);
            assert_eq!(kind(&net.ask(b, &of_fid(120, 6, 3))), 121);
            assert_eq!(net.server.fids(), 5, "the fid of the identity is clunked");
        }
    }
}
