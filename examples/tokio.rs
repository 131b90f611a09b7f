//! Many tasks of one tokio runtime share a connection, and a timeout cancels a call.
//!
//! The server is in capitals/mod.rs.

mod capitals;

use std::error::Error;
use std::time::Duration;

use tokio::time::timeout;

async fn program() -> Result<(), Box<dyn Error>> {
    let client = capitals::connect()?;

    // Each task has its own handle. A task may run on any thread of the runtime.
    let tasks: Vec<_> = (0..1000)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.call(format!("task {n}").into_bytes()).await })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await??, format!("TASK {n}").into_bytes());
    }

    // The timeout drops the call, which abandons it. Its tag stays in use, because a reply could still arrive.
    let late = timeout(Duration::from_millis(10), client.call(b"hush".to_vec())).await;
    assert!(late.is_err());
    assert_eq!(client.outstanding(), 1);
    assert_eq!(client.call(b"still here".to_vec()).await?, b"STILL HERE");
    println!("tokio: {} calls over one connection", client.stats().calls);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().enable_time().build()?.block_on(program())
}
