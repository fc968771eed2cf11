//! Which TCP ports somebody listens on, as the kernel lists them: no program, no connection.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use crate::error::{Error, Result};

/// The TCP ports that are listened on in this network namespace, on any address.
pub fn listening() -> Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match fs::read_to_string(path) {
            Ok(table) => ports.extend(parse(&table)),
            // A kernel without IPv6 has no such table.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::failed("cannot read it").at(path).because(e)),
        }
    }
    Ok(ports)
}

/// Refuses ports that somebody else listens on. `wanted` are services with the ports they will
/// listen on, `ours` those of services of ours that run now. Tells of all of them at once.
pub fn check(wanted: &[(String, u16)], ours: &BTreeSet<u16>) -> Result<()> {
    let taken = listening()?;
    let clashes: Vec<_> =
        wanted.iter().filter(|(_, port)| taken.contains(port) && !ours.contains(port)).collect();
    let Some((_, first)) = clashes.first() else { return Ok(()) };
    let each: Vec<_> =
        clashes.iter().map(|(service, port)| format!("port {port} of '{service}'")).collect();
    Err(Error::host(format!("another program already listens on {}", each.join(", "))).remedy(
        format!("find it with `ss -ltnp 'sport = :{first}'` and stop it, or choose another port"),
    ))
}

/// The listening ports of one of the kernel's tables.
fn parse(table: &str) -> impl Iterator<Item = u16> {
    table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next()?, words.nth(1)?);
        let port = local.rsplit(':').next()?;
        // 0A is TCP_LISTEN.
        (state == "0A").then(|| u16::from_str_radix(port, 16).ok())?
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::error::Kind;

    #[test]
    fn listeners_are_seen_and_connections_are_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let seen = listening().unwrap();
        assert!(seen.contains(&port));
        assert!(!seen.contains(&client.local_addr().unwrap().port()));

        let wanted = [("sampler".to_owned(), port)];
        let error = check(&wanted, &BTreeSet::new()).unwrap_err();
        assert_eq!(error.kind(), Kind::Host);
        assert_eq!(
            error.to_string(),
            format!("another program already listens on port {port} of 'sampler'")
        );
        check(&wanted, &BTreeSet::from([port])).unwrap();
        drop((client, listener));
        check(&wanted, &BTreeSet::new()).unwrap();
    }

    #[test]
    fn both_tables_have_the_same_shape() {
        let six = "  sl  local_address  remote_address  st tx_queue\n   \
            0: 00000000000000000000000000000000:019B 00000000000000000000000000000000:0000 0A 0:0\n\
            1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 01 0:0\n";
        assert_eq!(parse(six).collect::<Vec<_>>(), [411]);
    }
}
