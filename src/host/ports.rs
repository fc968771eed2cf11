//! Which TCP ports somebody listens on, as the kernel lists them: no program, no connection.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use crate::error::{Error, Result};

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct Listener {
    port: u16,
    /// The kernel's number of the socket, by which its process is found.
    inode: u64,
}

/// Everything that listens on TCP in this network namespace, on any address: a service that binds
/// one address alone cannot share the port with one that binds all.
fn listening() -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match fs::read_to_string(path) {
            Ok(table) => listeners.extend(parse(&table)),
            // A kernel without IPv6 has no such table.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::failed("cannot read it").at(path).because(e)),
        }
    }
    Ok(listeners)
}

/// Refuses ports that somebody else listens on. `wanted` are services with the ports they will
/// listen on, `ours` those of services of ours that run now. Tells of all of them at once, and who
/// it is, as far as /proc shows.
pub fn check(wanted: &[(String, u16)], ours: &BTreeSet<u16>) -> Result<()> {
    let taken = listening()?;
    let mut each = Vec::new();
    let mut first = None;
    for (service, port) in wanted.iter().filter(|(_, port)| !ours.contains(port)) {
        let Some(listener) = taken.iter().find(|listener| listener.port == *port) else { continue };
        let by = holder(listener.inode).map(|holder| format!(" by {holder}")).unwrap_or_default();
        each.push(format!("port {port} of '{service}'{by}"));
        first = first.or(Some(port));
    }
    let Some(first) = first else { return Ok(()) };
    Err(Error::host(format!("another program already listens: {}", each.join(", "))).remedy(
        format!(
            "look at it with `ss -ltnp 'sport = :{first}'` and stop it, or choose another port"
        ),
    ))
}

/// The listening ports of one of the kernel's tables.
fn parse(table: &str) -> impl Iterator<Item = Listener> {
    table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        // 0A is TCP_LISTEN.
        let port = local.rsplit(':').next().filter(|_| *state == "0A")?;
        Some(Listener { port: u16::from_str_radix(port, 16).ok()?, inode: inode.parse().ok()? })
    })
}

/// The process that has a socket open: `nginx (process 812)`. Processes come and go meanwhile,
/// and only root may look into those of others: who is not found is not named.
fn holder(inode: u64) -> Option<String> {
    let link = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let numbered = |name: &str| name.parse::<u32>().is_ok();
    for process in processes.filter(|p| p.file_name().to_str().is_some_and(numbered)) {
        let has = |file: fs::DirEntry| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        if files.flatten().any(has) {
            let id = process.file_name().to_string_lossy().into_owned();
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {id})", name.trim_end().escape_debug()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::error::Kind;

    #[test]
    fn who_listens_is_told_of_every_port_and_connections_do_not_count() {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let two = TcpListener::bind("[::1]:0").unwrap();
        let [a, b] = [&one, &two].map(|listener| listener.local_addr().unwrap().port());
        let client = TcpStream::connect(("127.0.0.1", a)).unwrap();
        let theirs = client.local_addr().unwrap().port();

        let wanted = [("store".to_owned(), a), ("store".to_owned(), theirs), ("ui".to_owned(), b)];
        let error = check(&wanted, &BTreeSet::new()).unwrap_err();
        assert_eq!(error.kind(), Kind::Host);
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        let me = format!("{} (process {})", name.trim_end(), std::process::id());
        assert_eq!(
            error.to_string(),
            format!(
                "another program already listens: port {a} of 'store' by {me}, port {b} of 'ui' by \
                 {me}"
            )
        );
        let error = check(&wanted, &BTreeSet::from([a])).unwrap_err();
        assert!(!error.to_string().contains("store"), "{error}");
        check(&wanted, &BTreeSet::from([a, b])).unwrap();
        drop((client, one, two));
        check(&wanted, &BTreeSet::new()).unwrap();
    }

    #[test]
    fn both_tables_have_the_same_shape() {
        let zero = "00000000:00000000 00:00000000 00000000 0 0";
        let six = format!(
            "  sl  local_address  remote_address  st tx_queue\n   \
             0: 00000000000000000000000000000000:019B 00000000000000000000000000000000:0000 0A \
             {zero} 17 1\n\
             1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 01 \
             {zero} 18 1\n"
        );
        assert_eq!(parse(&six).collect::<Vec<_>>(), [Listener { port: 411, inode: 17 }]);
    }
}
