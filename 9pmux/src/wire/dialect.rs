//! The three dialects, and their names in Tversion.

/// A dialect of 9P.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// 9P2000, of the fourth edition of Plan 9.
    Plain,
    /// 9P2000.u, with numeric uids and error numbers.
    U,
    /// 9P2000.L, of Linux.
    L,
}

/// The version by which a server says that no version is common.
pub const UNKNOWN: &str = "unknown";

impl Dialect {
    /// All dialects.
    pub const ALL: [Dialect; 3] = [Dialect::Plain, Dialect::U, Dialect::L];

    /// Returns its name in a Tversion.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::Plain => "9P2000",
            Dialect::U => "9P2000.u",
            Dialect::L => "9P2000.L",
        }
    }

    /// Returns the dialect with exactly this name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|d| d.name().as_bytes() == name)
    }

    /// Returns the type of the dialect's error reply.
    #[must_use]
    pub const fn error_type(self) -> u8 {
        match self {
            Dialect::L => super::types::RLERROR,
            _ => super::types::RERROR,
        }
    }

    pub(super) const fn as_set(self) -> Dialects {
        Dialects(1 << self as u8)
    }
}

/// The dialect that a Tversion offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// This dialect, or the dialect that it implies.
    Dialect(Dialect),
    /// An unknown one.
    Unknown,
}

impl Offer {
    /// Parses the version of a Tversion. After `9P2000.` an unknown suffix means `9P2000`.
    #[must_use]
    pub fn parse(version: &[u8]) -> Offer {
        match Dialect::from_name(version) {
            Some(dialect) => Offer::Dialect(dialect),
            None if version.starts_with(b"9P2000.") => Offer::Dialect(Dialect::Plain),
            None => Offer::Unknown,
        }
    }

    /// Returns true if a server may reply to the offer with `dialect`: the same one, or the one without
    /// the suffix.
    #[must_use]
    pub fn allows(self, dialect: Dialect) -> bool {
        match self {
            Offer::Dialect(offered) => offered == dialect || dialect == Dialect::Plain,
            Offer::Unknown => false,
        }
    }
}

/// A set of dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialects(u8);

impl Dialects {
    pub(super) const ALL: Dialects = Dialects(7);
    pub(super) const PLAIN_U: Dialects = Dialects(3);
    pub(super) const U: Dialects = Dialects(2);
    pub(super) const L: Dialects = Dialects(4);
    pub(super) const U_L: Dialects = Dialects(6);

    /// Returns true if all dialects are in the set.
    pub(super) const fn are_all(self) -> bool {
        self.0 == Dialects::ALL.0
    }

    /// Returns true if `dialect` is in the set.
    #[must_use]
    pub const fn contains(self, dialect: Dialect) -> bool {
        self.0 & dialect.as_set().0 != 0
    }
}
