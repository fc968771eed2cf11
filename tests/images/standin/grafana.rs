//! A stand-in for `grafana-server`, for tests.
//!
//! It draws nothing. It reads its ini and the GF_ variables as the real one does, needs an ini that it can
//! read, a data directory that it owns and a port that it may take (status 1 otherwise), answers
//! `/api/health`, keeps dashboards in its data directory and with them the password of admin from its
//! first start, and loads the dsosds plugin only where it is present and allowed: so a test can prove
//! what an upgrade or a mount keeps.
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, thread};

const VERSION: &str = "9.1.0 stand-in for tests: not the real grafana-server";
/// The most that a dashboard may have, in bytes.
const BODY: usize = 1 << 20;

extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

extern "C" fn end(_: i32) {
    // SAFETY: _exit is async-signal-safe.
    unsafe { _exit(0) }
}

/// What the ini, the environment and the command line say, the last of these winning.
struct Settings(HashMap<String, String>);

impl Settings {
    /// `[section]` and `key = value` lines; a comment starts with `#` or `;`.
    fn read(path: &str) -> Settings {
        let text = fs::read_to_string(path)
            .unwrap_or_else(|e| fail(&format!("cannot read {path}: {e}")));
        let mut section = String::new();
        let mut found = HashMap::new();
        for line in text.lines().map(str::trim).filter(|l| !l.starts_with(['#', ';'])) {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = name.to_string();
            } else if let Some((key, value)) = line.split_once('=') {
                found.insert(format!("{section}.{}", key.trim()), value.trim().to_string());
            }
        }
        Settings(found)
    }

    /// `paths.data` is overridden by GF_PATHS_DATA and by `cfg:default.paths.data=`.
    fn get(&self, name: &str, default: &str) -> String {
        let variable = format!("GF_{}", name.to_uppercase().replace('.', "_"));
        env::args()
            .find_map(|a| {
                let rest = a.strip_prefix("cfg:")?.to_string();
                let rest = rest.strip_prefix("default.").unwrap_or(&rest);
                rest.strip_prefix(name)?.strip_prefix('=').map(str::to_string)
            })
            .or_else(|| env::var(variable).ok())
            .or_else(|| self.0.get(name).cloned())
            .filter(|v| !v.is_empty())
            .unwrap_or(default.to_string())
    }
}

struct Server {
    database: String,
    account: String,
    plugin: &'static str,
    log: Option<String>,
}

impl Server {
    fn say(&self, text: &str) {
        let line = format!("logger=standin msg=\"{text}\"\n");
        let file = self.log.as_ref().and_then(|p| {
            fs::OpenOptions::new().create(true).append(true).open(p).ok()
        });
        // A log that cannot be written must not end the server.
        let _ = match file {
            Some(mut f) => f.write_all(line.as_bytes()),
            None => std::io::stdout().write_all(line.as_bytes()),
        };
    }
}

/// As HTTP's basic authentication writes a name and a password.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let byte = |n: usize| u32::from(three.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= three.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

fn fail(text: &str) -> ! {
    eprintln!("grafana-server (stand-in): {text}");
    exit(1)
}

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    if args.iter().any(|a| matches!(a.as_str(), "-v" | "--version" | "-version")) {
        println!("Version {VERSION}");
        return;
    }
    for number in [2, 15] {
        // SAFETY: the handler only calls _exit, which may be called from a signal handler.
        unsafe { signal(number, end) };
    }
    let named = args.iter().find_map(|a| a.trim_start_matches('-').strip_prefix("config="));
    let ini = named.map_or("/etc/grafana/grafana.ini".to_string(), str::to_string);
    let settings = Settings::read(&ini);
    let data = settings.get("paths.data", "/var/lib/grafana");
    let database = format!("{data}/grafana.db");
    let me = fs::metadata("/proc/self").map_or(u32::MAX, |m| m.uid());
    match fs::metadata(&data) {
        Ok(m) if m.uid() == me || me == 0 => {}
        Ok(m) => fail(&format!("{data} belongs to uid {}, not to uid {me}", m.uid())),
        Err(e) => fail(&format!("{data}: {e}")),
    }
    let first = fs::metadata(&database).is_err();
    if let Err(e) = fs::OpenOptions::new().create(true).append(true).open(&database) {
        fail(&format!("cannot write {database}: {e}"));
    }
    let account = format!("{data}/admin");
    if first {
        let password = settings.get("security.admin_password", "admin");
        if let Err(e) = fs::write(&account, base64(format!("admin:{password}").as_bytes())) {
            fail(&format!("cannot write {account}: {e}"));
        }
    }
    let plugins = settings.get("paths.plugins", &format!("{data}/plugins"));
    let allowed = settings.get("plugins.allow_loading_unsigned_plugins", "");
    let allowed = allowed.split(',').any(|p| p.trim() == "dsosds");
    let present = fs::metadata(format!("{plugins}/dsosds/plugin.json")).is_ok();
    let to_console = settings.get("log.mode", "console").split_whitespace().any(|m| m == "console");
    let logs = settings.get("paths.logs", "/var/log/grafana");
    let server = Arc::new(Server {
        database,
        account,
        plugin: match (present, allowed) {
            (true, true) => "loaded",
            (true, false) => "refused: unsigned",
            (false, _) => "absent",
        },
        log: (!to_console).then(|| format!("{logs}/grafana.log")),
    });
    let address = settings.get("server.http_addr", "0.0.0.0");
    let port = settings.get("server.http_port", "3000");
    let end = format!("{address}:{port}");
    let listener = TcpListener::bind(&end)
        .unwrap_or_else(|e| fail(&format!("cannot listen on {end}: {e}")));
    server.say(&format!("HTTP Server Listen address={end} plugin dsosds={}", server.plugin));
    for stream in listener.incoming().flatten() {
        let server = Arc::clone(&server);
        // A client that goes away is its own affair.
        thread::spawn(move || answer(&server, stream).unwrap_or_default());
    }
}

fn answer(server: &Server, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new((&stream).take(2 * BODY as u64));
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let (mut length, mut who) = (0, String::new());
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0).min(BODY);
            }
            if name.eq_ignore_ascii_case("authorization") {
                who = value.trim().to_string();
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let words: Vec<&str> = request.split_whitespace().collect();
    let (status, text) = match words[..] {
        ["GET", "/api/health", ..] => {
            ("200 OK", format!("{{\"database\":\"ok\",\"version\":\"{VERSION}\"}}"))
        }
        ["GET", "/api/user", ..] => {
            if who == format!("Basic {}", fs::read_to_string(&server.account)?) {
                ("200 OK", "{\"login\":\"admin\"}".to_string())
            } else {
                ("401 Unauthorized", "{\"message\":\"Unauthorized\"}".to_string())
            }
        }
        ["GET", "/api/search", ..] => {
            let kept = fs::read_to_string(&server.database)?;
            ("200 OK", format!("[{}]", kept.lines().collect::<Vec<_>>().join(",")))
        }
        // A dashboard is kept as it came, one a line.
        ["POST", "/api/dashboards/db", ..] => {
            let line = String::from_utf8_lossy(&body).replace(['\r', '\n'], " ");
            let mut file = fs::OpenOptions::new().append(true).open(&server.database)?;
            writeln!(file, "{line}")?;
            file.sync_all()?;
            ("200 OK", "{\"status\":\"success\"}".to_string())
        }
        ["GET", "/api/plugins/dsosds", ..] => {
            ("200 OK", format!("{{\"id\":\"dsosds\",\"state\":\"{}\"}}", server.plugin))
        }
        _ => ("404 Not Found", "{\"message\":\"Not found\"}".to_string()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    )
}
