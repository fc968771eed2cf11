//! `--role`: which services are wanted, and which role each has.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::profile::{SERVICE_NAME_RULE, is_service_name};

/// One service that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish {
    /// Its name; the role's unless another is given.
    pub name: String,
    /// Its role.
    pub role: String,
}

impl Wish {
    /// Reads the values of all `--role`: `ROLE`, `ROLE,ROLE` or `NAME=ROLE`.
    pub fn parse_all<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Wish>> {
        let mut wishes: Vec<Wish> = Vec::new();
        for text in texts.iter().flat_map(|text| text.as_ref().split(',')) {
            let wish: Wish = text.parse()?;
            if let Some(other) = wishes.iter().find(|other| other.name == wish.name) {
                return Err(Error::usage(format!("--role names the service {} twice", other.name))
                    .remedy("give each its own name: --role NAME=ROLE"));
            }
            wishes.push(wish);
        }
        Ok(wishes)
    }
}

impl FromStr for Wish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, role) = text.split_once('=').unwrap_or((text, text));
        match [name, role].into_iter().find(|word| !is_service_name(word)) {
            None => Ok(Wish { name: name.into(), role: role.into() }),
            Some(word) => Err(Error::usage(format!(
                "--role: '{}' cannot name a service or role",
                word.escape_debug()
            ))
            .remedy(SERVICE_NAME_RULE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_names() {
        let wishes =
            Wish::parse_all(&["sampler,ui", "agg1=aggregator", "agg2=aggregator"]).unwrap();
        let shown: Vec<_> = wishes.iter().map(|w| format!("{}={}", w.name, w.role)).collect();
        assert_eq!(shown, ["sampler=sampler", "ui=ui", "agg1=aggregator", "agg2=aggregator"]);
    }

    #[test]
    fn refuses_what_cannot_be_a_unit_name() {
        for bad in ["", "a,,b", "A=sampler", "../x", "a=b=c", "a b", "-x", "x-", "a,a", "x%i=a"] {
            assert!(Wish::parse_all(&[bad]).is_err(), "{bad}");
        }
        assert!(Wish::parse_all(&["x".repeat(33)]).is_err());
    }
}
