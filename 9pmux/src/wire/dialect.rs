//! The three dialects, by the names that Tversion has for them.

/// A dialect of 9P.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Plan 9's, of its fourth edition.
    Plain,
    /// With Unix's numbers beside the names.
    U,
    /// Linux's.
    L,
}

/// The version that says that there is none in common.
pub const UNKNOWN: &str = "unknown";

impl Dialect {
    /// All there are.
    pub const ALL: [Dialect; 3] = [Dialect::Plain, Dialect::U, Dialect::L];

    /// Its name in a Tversion.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::Plain => "9P2000",
            Dialect::U => "9P2000.u",
            Dialect::L => "9P2000.L",
        }
    }

    /// The one of exactly this name.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|d| d.name().as_bytes() == name)
    }

    /// The type of the message that says that a request failed.
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

/// What the version of a Tversion asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// This dialect, or what it implies.
    Dialect(Dialect),
    /// Nothing that is known here.
    Unknown,
}

impl Offer {
    /// Of the version's bytes. After `9P2000.` anything that is not known is `9P2000`.
    #[must_use]
    pub fn parse(version: &[u8]) -> Offer {
        match Dialect::from_name(version) {
            Some(dialect) => Offer::Dialect(dialect),
            None if version.starts_with(b"9P2000.") => Offer::Dialect(Dialect::Plain),
            None => Offer::Unknown,
        }
    }

    /// Whether a server may answer the offer with `dialect`: the same, or that without its ending.
    #[must_use]
    pub fn allows(self, dialect: Dialect) -> bool {
        match self {
            Offer::Dialect(offered) => offered == dialect || dialect == Dialect::Plain,
            Offer::Unknown => false,
        }
    }
}

/// Some of the dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialects(u8);

impl Dialects {
    pub(super) const ALL: Dialects = Dialects(7);
    pub(super) const PLAIN_U: Dialects = Dialects(3);
    pub(super) const U: Dialects = Dialects(2);
    pub(super) const L: Dialects = Dialects(4);
    pub(super) const U_L: Dialects = Dialects(6);

    /// Whether `dialect` is one of them.
    #[must_use]
    pub const fn contains(self, dialect: Dialect) -> bool {
        self.0 & dialect.as_set().0 != 0
    }
}
