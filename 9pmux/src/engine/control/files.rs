//! The files of the control tree.

use crate::wire::qid;

/// A file of the control tree. The root is a directory with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Root,
    Version,
    Stats,
    Clients,
    Upstream,
    Latency,
    Fids,
    Metrics,
    Ctl,
}

/// The bit of a directory in the mode of 9P2000.
pub const DMDIR: u32 = 0x8000_0000;

impl File {
    /// The files in the root, in their order.
    const ALL: [File; 8] = [
        File::Version,
        File::Stats,
        File::Clients,
        File::Upstream,
        File::Latency,
        File::Fids,
        File::Metrics,
        File::Ctl,
    ];

    /// Returns the files in the root. `fids` is there only if the engine knows paths.
    pub fn in_root(knows_paths: bool) -> impl Iterator<Item = File> + Clone {
        File::ALL.into_iter().filter(move |file| knows_paths || *file != File::Fids)
    }

    pub fn name(self) -> &'static str {
        match self {
            File::Root => "/",
            File::Version => "version",
            File::Stats => "stats",
            File::Clients => "clients",
            File::Upstream => "upstream",
            File::Latency => "latency",
            File::Fids => "fids",
            File::Metrics => "metrics",
            File::Ctl => "ctl",
        }
    }

    pub fn is_dir(self) -> bool {
        self == File::Root
    }

    /// Returns the permissions.
    pub fn permissions(self) -> u32 {
        match self {
            File::Root => 0o555,
            File::Ctl => 0o200,
            _ => 0o444,
        }
    }

    /// Returns the qid: the version is 0, so that Linux does not cache the file, and the path is fixed.
    pub fn qid(self) -> [u8; qid::LEN] {
        let mut bytes = [0; qid::LEN];
        bytes[0] = if self.is_dir() { qid::DIRECTORY } else { 0 };
        bytes[5] = 1 + self as u8;
        bytes
    }

    /// Returns the file that a name walks to, if there is one.
    pub fn walk(self, name: &[u8], knows_paths: bool) -> Option<File> {
        match (self, name) {
            (_, b"..") => Some(File::Root),
            (File::Root, name) => {
                File::in_root(knows_paths).find(|file| file.name().as_bytes() == name)
            }
            _ => None,
        }
    }
}
