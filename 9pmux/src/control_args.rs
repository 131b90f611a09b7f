//! The options of the control tree, for `serve` and `link`.

use clap::builder::NonEmptyStringValueParser;
use ninepmux::engine::ControlTree;
use ninepmux::net::control_tree;

/// The name that means that there is no control tree.
const NONE: &str = "none";

/// The options of the control tree.
#[derive(Debug, clap::Args)]
pub struct ControlArgs {
    /// Name of the tree with 9pmux's own state; none: no such tree
    ///
    /// Clients that attach to this tree (aname) get files with counters, clients and the state of the server. On a unix
    /// socket only processes of the user of 9pmux, and of root, may attach.
    #[arg(long, value_name = "NAME", default_value = "/mux", help_heading = crate::args::ACCESS,
        value_parser = NonEmptyStringValueParser::new())]
    control: String,
    /// Let any network client attach to that tree
    ///
    /// The system does not say which user a network client is. It may also disconnect other clients.
    #[arg(long, help_heading = crate::args::ACCESS)]
    pub control_tcp: bool,
}

impl ControlArgs {
    /// Returns the tree, if there is one.
    pub fn tree(&self) -> Option<ControlTree> {
        (self.control != NONE).then(|| control_tree(self.control.clone()))
    }
}
