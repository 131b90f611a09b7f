//! Tests of a link: the splitter, one end against scripts, and two ends against each other.

mod end;
mod splitting;
mod two_ends;
mod virtual_time;
mod world;
