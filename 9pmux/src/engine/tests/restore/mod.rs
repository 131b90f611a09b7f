//! Sessions that are restored: the server goes and comes back.

mod bench;
mod cuts;
mod limits;
mod meanwhile;
mod removed_root;
mod repeat;
mod replay;
mod retries;
mod server;
mod versions;
