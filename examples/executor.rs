//! Many futures on one thread share a connection, under the plain executor of the crate futures. Any executor
//! will do, because the thread of the client receives and wakes them.
//!
//! The server is in capitals/mod.rs.

mod capitals;

use std::error::Error;
use std::pin::pin;

use futures::executor::block_on;
use futures::future::{Either, join_all, select};

async fn program() -> Result<(), Box<dyn Error>> {
    let client = capitals::connect()?;
    let calls = (0..1000).map(|n| client.call(format!("call {n}").into_bytes()));
    for (n, reply) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(reply?, format!("CALL {n}").into_bytes());
    }

    // The first of two calls to complete; the other one is dropped, which abandons it.
    let hush = client.call(b"hush".to_vec());
    let prompt = pin!(client.call(b"prompt".to_vec()));
    match select(hush, prompt).await {
        Either::Right((reply, hush)) => {
            assert_eq!(reply?, b"PROMPT");
            drop(hush);
        }
        Either::Left(_) => return Err("a reply to hush".into()),
    }
    assert_eq!(client.outstanding(), 1);
    println!("executor: {} calls over one connection", client.stats().calls);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    block_on(program())
}
