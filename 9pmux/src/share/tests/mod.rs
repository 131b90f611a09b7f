mod client;
mod made;
mod server;
mod simulation;
