//! Whether a service works, which is more than whether it was started.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::engine::load::Client;
use crate::error::{Error, Result};
use crate::host::{Interrupt, Systemd, UnitState};
use crate::record::Record;
use crate::root::Root;
pub use crate::service::Check;

/// How long a service must stay up before it counts, where nothing can be asked of it.
const SETTLED: Duration = Duration::from_secs(3);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a connection to this host itself may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a server may take to answer: the first page of some is put together then.
const ANSWER: Duration = Duration::from_secs(10);
/// Most bytes of the headers of an answer.
const HEADERS_LIMIT: usize = 64 * 1024;
/// Lines of its journal that a service that does not work is told with.
const LINES: u32 = 20;

/// Waits until `unit` runs and all `checks` hold, at most `timeout`. If it fails or the time is
/// over, the last lines of its journal are the reason.
pub fn wait(
    systemd: Systemd,
    engine: Option<Client>,
    unit: &str,
    checks: &[Check],
    timeout: Duration,
    interrupt: &Interrupt,
) -> Result<()> {
    let start = Instant::now();
    let restarts = systemd.state(unit)?.restarts;
    let mut seen = restarts;
    let mut up_since: Option<Instant> = None;
    loop {
        interrupt.check()?;
        let state = systemd.state(unit)?;
        if std::mem::replace(&mut seen, state.restarts) != state.restarts {
            up_since = None;
        }
        let missing = if state.active == "active" {
            let since = *up_since.get_or_insert_with(Instant::now);
            missing(checks, engine, since.elapsed() >= SETTLED)
        } else {
            up_since = None;
            Some(format!("it is {}", state.active))
        };
        let Some(missing) = missing else { return Ok(()) };
        if state.active == "failed" {
            return Err(failed(systemd, unit, "has failed"));
        }
        if start.elapsed() >= timeout {
            let again = state.restarts.saturating_sub(restarts);
            let mut what = format!("does not work after {} seconds: {missing}", timeout.as_secs());
            if again > 0 {
                // Writing to a String cannot fail.
                let _ = write!(what, ", and systemd has restarted it {again} times");
            }
            return Err(failed(systemd, unit, &what));
        }
        thread::sleep(PAUSE);
    }
}

/// What does not hold yet, for people.
fn missing(checks: &[Check], engine: Option<Client>, settled: bool) -> Option<String> {
    let mut asked = false;
    for check in checks {
        match check {
            Check::Running => continue,
            Check::Tcp(port) => {
                if let Err(why) = answers(*port) {
                    return Some(format!("nobody answers on port {port} ({why})"));
                }
            }
            Check::Http(url) => {
                if let Err(why) = serves(url) {
                    return Some(format!("{url} does not work: {why}"));
                }
            }
            Check::Exec { container, command } => {
                // Whoever waits for a service of an engine has its client.
                let Some(engine) = engine else { continue };
                if let Err(why) = engine.exec(container, command) {
                    return Some(format!("in its container {why}"));
                }
            }
        }
        asked = true;
    }
    // Where nothing answers, staying up for a while is all that can be seen.
    (!asked && !settled).then(|| "it has not been up for long enough".to_owned())
}

/// Somebody on this host takes connections on `port`.
fn answers(port: u16) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, CONNECT)?;
    // A connection to a port that nobody listens on can, once in a while, be given that very
    // port for its own end, and then it reaches itself.
    if stream.local_addr()? == address {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(())
}

/// A server that works, whatever it wants to be asked first: it may redirect, or ask for a
/// password. A status of 500 and above is a server that cannot.
fn serves(url: &str) -> Result<(), String> {
    let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next());
    let address = address.and_then(|address| address.parse::<SocketAddrV4>().ok());
    // A socket can be given an address of this host, and no other.
    if address.is_none_or(|at| TcpListener::bind((*at.ip(), 0)).is_err()) {
        return Err("it is not an address of this host".into());
    }
    // A redirection may lead to another host: it is an answer, and not followed. What a page
    // holds does not matter, so it is not read.
    let request = minreq::get(url)
        .with_timeout(ANSWER.as_secs())
        .with_follow_redirects(false)
        .with_max_headers_size(HEADERS_LIMIT)
        .with_max_status_line_length(HEADERS_LIMIT);
    match request.send_lazy() {
        Err(why) => Err(why.to_string()),
        Ok(answer) if answer.status_code < 500 => Ok(()),
        Ok(answer) => Err(format!("it answers {} {}", answer.status_code, answer.reason_phrase)),
    }
}

fn failed(systemd: Systemd, unit: &str, what: &str) -> Error {
    let lines = systemd.journal(unit, LINES);
    let error = Error::failed(what).at(unit).remedy(format!("see `journalctl -u {unit}`"));
    if lines.is_empty() { error } else { error.because(io::Error::other(lines)) }
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its name on this node
    pub name: String,
    /// Its role
    pub role: String,
    /// The service in whose container it runs
    #[serde(skip_serializing_if = "Option::is_none")]
    pub companion_of: Option<String>,
    /// Its unit
    pub unit: String,
    /// What systemd says
    #[serde(flatten)]
    pub state: UnitState,
    /// The name of its image
    pub image: String,
    /// Whether the engine has exactly the signed image; `None` if it cannot be asked
    pub image_there: Option<bool>,
    /// Files that have changed since it was started: it still uses what they were
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed_files: Vec<PathBuf>,
    /// The version of the bundle it comes from
    pub version: String,
    /// The last line of its journal, if it does not run
    pub last_line: Option<String>,
}

/// How each recorded service is. Without a running systemd their states are empty.
pub fn status(
    root: &Root,
    record: &Record,
    systemd: Option<Systemd>,
    engine: Option<Client>,
) -> Result<Vec<Status>> {
    let units: Vec<_> = record.services.iter().map(|s| s.unit.as_str()).collect();
    let mut states = match systemd {
        Some(systemd) => systemd.states(&units)?,
        None => BTreeMap::new(),
    };
    let mut all = Vec::new();
    for service in &record.services {
        let state = states.remove(&service.unit).unwrap_or_default();
        let changed_files = root.changed_since(&service.uses, state.started)?;
        let image = record.images.iter().find(|i| i.reference == service.image);
        let image_there = match (engine, image) {
            (Some(engine), Some(image)) => {
                engine.present(&image.reference, &image.layers).ok().map(|there| there.is_some())
            }
            _ => None,
        };
        let last_line = systemd
            .filter(|_| state.active != "active")
            .map(|s| s.journal(&service.unit, 1))
            .filter(|line| !line.is_empty());
        all.push(Status {
            name: service.name.clone(),
            role: service.role.clone(),
            companion_of: service.companion_of.clone(),
            unit: service.unit.clone(),
            state,
            image: service.image.clone(),
            image_there,
            changed_files,
            version: record.bundle.version.clone(),
            last_line,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_answers_or_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(missing(&[Check::Running, Check::Tcp(port)], None, false), None);
        // Nobody here has had a service on port 1 for decades.
        let what = missing(&[Check::Tcp(port), Check::Tcp(1)], None, true).unwrap();
        assert!(what.starts_with("nobody answers on port 1 ("), "{what}");
    }

    #[test]
    fn a_server_works_whatever_it_asks_for_and_not_if_it_says_so() {
        use std::io::{Read, Write};
        let try_it = |answer: &'static str| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..read]).into_owned()
            });
            let missing = missing(&[Check::Http(format!("http://127.0.0.1:{port}/a"))], None, true);
            assert!(server.join().unwrap().starts_with("GET /a HTTP/1.1\r\n"));
            missing.map(|what| what.replace(&port.to_string(), "PORT"))
        };
        assert_eq!(try_it("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), None);
        // Followed, it would lead away from this host.
        let redirect = "HTTP/1.1 302 Found\r\nLocation: https://192.0.2.1/\r\n\r\n";
        assert_eq!(try_it(redirect), None);
        assert_eq!(try_it("HTTP/1.0 401 Unauthorized\r\n\r\n"), None);
        let what = try_it("HTTP/1.1 500 Internal Server Error\r\n\r\n").unwrap();
        let means = "http://127.0.0.1:PORT/a does not work: it answers 500 Internal Server Error";
        assert_eq!(what, means);
        assert!(try_it("LDMS\r\n").is_some());
        // An address for documents, which no host has.
        let elsewhere = "http://192.0.2.1:80/";
        let what = missing(&[Check::Http(elsewhere.into())], None, true).unwrap();
        assert!(what.ends_with("it is not an address of this host"), "{what}");
    }

    #[test]
    fn without_a_question_time_decides() {
        assert!(missing(&[Check::Running], None, false).is_some());
        assert!(missing(&[Check::Running], None, true).is_none());
    }
}
