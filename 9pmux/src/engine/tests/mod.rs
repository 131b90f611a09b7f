use super::fuzz::made;
use super::local_error::LocalError;

mod away;
mod bench;
mod blocked_reads;
mod contents;
mod ends;
mod fids;
mod finishing;
mod flushing;
mod limits;
mod malformed;
mod once;
mod redial;
mod shares;
mod simulation;
mod versions;
