use super::refusal::Refusal;

mod bench;
mod client;
mod ends;
mod fids;
mod flushing;
mod limits;
mod made;
mod server;
mod simulation;
mod versions;
