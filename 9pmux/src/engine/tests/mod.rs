use super::local_error::LocalError;

mod bench;
mod blocked_reads;
mod client;
mod contents;
mod ends;
mod fids;
mod finishing;
mod flushing;
mod limits;
mod made;
mod malformed;
mod once;
mod server;
mod shares;
mod simulation;
mod versions;
