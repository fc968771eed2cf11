//! The one error of this project: what failed, where, why, and what to do next.
//!
//! Every message a user sees is built from these parts, so that none of them is
//! forgotten, and the kind decides the exit code.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// What sort of failure this is; the exit code of both programs follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something failed; the host is as it was before. Exit code 1.
    Failed,
    /// The command line or an answer makes no sense. Exit code 2.
    Usage,
    /// The bundle was refused: signature, digest or form. Exit code 3.
    Refused,
    /// The host lacks something the run needs. Exit code 4.
    Host,
    /// What was done could not be undone entirely. Exit code 5.
    Incomplete,
}

impl Kind {
    /// The exit code that stands for this kind, as the README documents it.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Refused => 3,
            Kind::Host => 4,
            Kind::Incomplete => 5,
        }
    }
}

/// A failure, in parts.
pub struct Error(Box<Parts>);

struct Parts {
    kind: Kind,
    what: String,
    place: Option<String>,
    remedy: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of `kind`; `what` is a phrase without a full stop: "pack 0217 is damaged".
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error(Box::new(Parts { kind, what: what.into(), place: None, remedy: None, source: None }))
    }

    /// [`Kind::Failed`]
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Kind::Failed, what)
    }

    /// [`Kind::Usage`]
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Kind::Usage, what)
    }

    /// [`Kind::Refused`]
    pub fn refused(what: impl Into<String>) -> Self {
        Self::new(Kind::Refused, what)
    }

    /// [`Kind::Host`]
    pub fn host(what: impl Into<String>) -> Self {
        Self::new(Kind::Host, what)
    }

    /// The file, host or part it happened on. The innermost place wins: the first one given stays.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.place.get_or_insert_with(|| place.to_string());
        self
    }

    /// The larger thing that the place, if there is one, lies in: `BUNDLE: MEMBER: …`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.0.place = Some(match self.0.place.take() {
            Some(inner) if inner.starts_with(outer) => inner,
            Some(inner) => format!("{outer}: {inner}"),
            None => outer.to_owned(),
        });
        self
    }

    /// What the reader should do next, as a sentence without a full stop.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy.get_or_insert_with(|| remedy.into());
        self
    }

    /// The error underneath: the reason.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same failure under another kind, where only the caller knows what it means for the host.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What failed, without place and reason.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Where it failed, if known.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }

    /// What to do next, if known.
    pub fn next_step(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    /// An input or output error carried through an [`io::Error`] comes out as itself again.
    pub fn from_io(error: io::Error, what: impl Into<String>) -> Self {
        match error.downcast::<Error>() {
            Ok(inner) => inner,
            Err(error) => Error::failed(what).because(error),
        }
    }
}

impl fmt::Display for Error {
    /// `PLACE: WHAT: REASON` on one line; the remedy is printed apart, by the programs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.what)?;
        let mut source = self.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            // An Error below prints its own sources.
            source = if error.is::<Error>() { None } else { error.source() };
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:?}] {self}", self.0.kind)?;
        if let Some(remedy) = &self.0.remedy {
            write!(f, " -> {remedy}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

impl From<Error> for io::Error {
    /// So that a checking reader can fail inside somebody else's `Read` loop;
    /// [`Error::from_io`] gets it back.
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_place_what_reason() {
        let e = Error::failed("cannot read the file")
            .at("/media/stick/a.ldms")
            .at("somewhere further out")
            .because(io::Error::other("input/output error"))
            .remedy("copy the bundle again");
        assert_eq!(e.to_string(), "/media/stick/a.ldms: cannot read the file: input/output error");
        assert_eq!(e.next_step(), Some("copy the bundle again"));
    }

    #[test]
    fn survives_a_trip_through_io() {
        let e = Error::refused("pack 0001 is damaged").at("x.ldms");
        let back = Error::from_io(io::Error::from(e), "cannot read");
        assert_eq!(back.kind(), Kind::Refused);
        assert_eq!(back.to_string(), "x.ldms: pack 0001 is damaged");
    }
}
