//! What shows that a service works, beyond that its unit is active.

use std::fmt;
use std::net::SocketAddrV4;

use serde::Serialize;

use super::Decider;
use crate::error::Result;

/// Something that shows that a service works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The container keeps running.
    Running,
    /// Somebody takes connections on this port of the host.
    Tcp(u16),
    /// This URL of the host answers with a status below 500.
    Http(String),
    /// A command in the container ends with exit code 0.
    Exec {
        /// Name of the container
        container: String,
        /// The command's words
        command: Vec<String>,
    },
}

impl fmt::Display for Check {
    /// What holds when it works: `answering on port 411`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Running => f.write_str("running"),
            Check::Tcp(port) => write!(f, "answering on port {port}"),
            Check::Http(url) => write!(f, "answering at {url}"),
            Check::Exec { command, .. } => {
                write!(f, "`{}` well in it", shell_words::join(command))
            }
        }
    }
}

impl Decider<'_> {
    /// All that must hold.
    pub(super) fn checks(&self) -> Result<Vec<Check>> {
        let mut checks = vec![Check::Running];
        for rule in &self.profile.checks {
            let rule = rule.get_ref();
            if !self.applies(rule.when.as_ref())? {
                continue;
            }
            if let Some(port) = &rule.tcp {
                checks.push(Check::Tcp(self.port(port.get_ref())?));
            }
            if let Some(url) = &rule.http {
                checks.push(Check::Http(self.url(url.get_ref())?));
            }
            if let Some(words) = &rule.exec {
                let word = |word: &toml::Spanned<String>| self.text("a check", word.get_ref());
                let command = words.get_ref().iter().map(word).collect::<Result<_>>()?;
                let container = self.text("container", "{{ container }}")?;
                checks.push(Check::Exec { container, command });
            }
        }
        Ok(checks)
    }

    /// A URL without a name to be looked up. Whether its address is one of this very host is seen
    /// before it is asked: nothing is asked of any other.
    fn url(&self, template: &str) -> Result<String> {
        let url = self.text("a check", template)?;
        let (address, path) =
            url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap_or_default();
        let is_address = address.parse::<SocketAddrV4>().is_ok_and(|address| address.port() != 0);
        // Beyond these it would have to be encoded.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-~?=&%+".contains(&b);
        if is_address && path.bytes().all(plain) {
            return Ok(url);
        }
        let shown = url.escape_debug();
        Err(self.error(format!("the check '{shown}' is not http://IPv4-ADDRESS:PORT/PATH")))
    }
}
