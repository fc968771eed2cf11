//! A stand-in for `dsosd`, which serves SOS containers through ONC RPC, for tests.
//!
//! It serves no data. As the real one does, it needs a readable JSON directory file and an rpcbind
//! that lets it register, stays in the foreground, and ends with status 1 where either is missing.
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::process::exit;
use std::time::Duration;
use std::{env, fs};

/// In the range that RFC 5531 leaves to local use.
const SOSDB: u32 = 0x2000_0411;
const SOSVERS: u32 = 1;
const UDP: u32 = 17;
const TCP: u32 = 6;

extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

extern "C" fn end(_: i32) {
    // SAFETY: _exit is async-signal-safe.
    unsafe { _exit(0) }
}

fn fail(text: &str) -> ! {
    eprintln!("dsosd (stand-in): {text}");
    exit(1)
}

fn main() {
    if env::args().any(|a| a == "--version") {
        println!("dsosd stand-in for tests: not the real dsosd");
        return;
    }
    // SAFETY: the handler only calls _exit, which may be called from a signal handler.
    unsafe { signal(15, end) };
    let Ok(path) = env::var("DSOSD_DIRECTORY") else { fail("DSOSD_DIRECTORY is not set") };
    let text = fs::read(&path).unwrap_or_else(|e| fail(&format!("cannot read {path}: {e}")));
    let mut json = Json { rest: &text, depth: 0 };
    if json.value().is_none() || !json.skip_space().is_empty() || text.first() != Some(&b'{') {
        fail(&format!("{path} is not a JSON object"));
    }
    let udp = UdpSocket::bind("0.0.0.0:0").unwrap_or_else(|e| fail(&format!("no socket: {e}")));
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap_or_else(|e| fail(&format!("no socket: {e}")));
    let port = |a: std::io::Result<std::net::SocketAddr>| a.map_or(0, |a| u32::from(a.port()));
    // What an earlier run left behind would make the registration fail.
    let _ = portmap(2, 0, 0);
    for (name, kind, port) in
        [("udp", UDP, port(udp.local_addr())), ("tcp", TCP, port(tcp.local_addr()))]
    {
        if portmap(1, kind, port) != Some(1) {
            fail(&format!("unable to register (SOSDB, SOSVERS, {name})"));
        }
    }
    println!("dsosd (stand-in): registered, directory {path}");
    for mut stream in tcp.incoming().flatten() {
        // The client may have gone: that is its own affair.
        let _ = stream.write_all(b"dsosd stand-in\n");
    }
}

/// Calls procedure 1 (set) or 2 (unset) of the port mapper (RFC 1833) and returns its answer.
fn portmap(procedure: u32, kind: u32, port: u32) -> Option<u32> {
    let xid = std::process::id();
    let call = [xid, 0, 2, 100_000, 2, procedure, 0, 0, 0, 0, SOSDB, SOSVERS, kind, port];
    let bytes: Vec<u8> = call.iter().flat_map(|w| w.to_be_bytes()).collect();
    // rpcbind takes registrations only from a port that root alone can have.
    let socket = (600..1024).find_map(|p| UdpSocket::bind(("127.0.0.1", p)).ok())?;
    socket.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    socket.connect("127.0.0.1:111").ok()?;
    socket.send(&bytes).ok()?;
    let mut reply = [0; 28];
    let length = socket.recv(&mut reply).ok()?;
    let words: Vec<u32> = reply[..length]
        .chunks_exact(4)
        .map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]]))
        .collect();
    match words[..] {
        [id, 1, 0, _, 0, 0, answer] if id == xid => Some(answer),
        _ => None,
    }
}

/// Reads over one JSON value without keeping it.
struct Json<'a> {
    rest: &'a [u8],
    depth: u8,
}

impl Json<'_> {
    fn skip_space(&mut self) -> &[u8] {
        self.rest = self.rest.trim_ascii_start();
        self.rest
    }

    fn eat(&mut self, wanted: &[u8]) -> Option<()> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(wanted)?;
        Some(())
    }

    fn value(&mut self) -> Option<()> {
        self.depth = self.depth.checked_add(1).filter(|d| *d < 64)?;
        match self.skip_space().first()? {
            b'{' => self.members(b"{", b"}", true)?,
            b'[' => self.members(b"[", b"]", false)?,
            b'"' => self.string()?,
            b't' => self.eat(b"true")?,
            b'f' => self.eat(b"false")?,
            b'n' => self.eat(b"null")?,
            _ => {
                let part = |b: &u8| b.is_ascii_digit() || b"+-.eE".contains(b);
                let length = self.rest.iter().take_while(|b| part(b)).count();
                let (number, rest) = self.rest.split_at(length);
                std::str::from_utf8(number).ok()?.parse::<f64>().ok()?;
                self.rest = rest;
            }
        }
        self.depth -= 1;
        Some(())
    }

    fn members(&mut self, open: &[u8], close: &[u8], named: bool) -> Option<()> {
        self.eat(open)?;
        if self.eat(close).is_some() {
            return Some(());
        }
        loop {
            if named {
                self.string()?;
                self.eat(b":")?;
            }
            self.value()?;
            if self.eat(b",").is_none() {
                return self.eat(close);
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        self.eat(b"\"")?;
        loop {
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            match first {
                b'"' => return Some(()),
                b'\\' => self.rest = self.rest.get(1..)?,
                _ => {}
            }
        }
    }
}
