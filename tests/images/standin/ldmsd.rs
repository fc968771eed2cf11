//! A stand-in for LDMS's `ldmsd`, `ldms_ls` and `ldmsd_controller`, for tests.
//!
//! It collects no metrics. It listens where it is told, authenticates with the real munge, reads a
//! configuration file, ends with the exit codes that LDMS 4.4.4 was seen to end with, and tells
//! whoever asks what it can see: so a test can prove that each flag of a container took effect.
//! The standard library alone, so that `rustc` builds it without a package registry.
//!
//! The conversation: a client sends `auth=none` or `auth=munge CREDENTIAL` in one line and gets
//! `key=value` lines, or the line `Connection failed/rejected.`.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{exit, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, thread};

const VERSION: &str = "4.4.4 stand-in for tests: not the real ldmsd";
const REJECTED: &str = "Connection failed/rejected.";
/// The transport that LDMS has everywhere; the others need hardware that no test host has.
const PORT: u16 = 411;

// Exit codes seen with LDMS 4.4.4.
const BAD_OPTION: i32 = 1;
const NO_SUCH_CONFIG: i32 = 2;
const CANNOT_LISTEN: i32 = 7;
const BAD_CONFIG: i32 = 22;
const NOTHING_TO_DO: i32 = 101;
const NO_SUCH_PLUGIN: i32 = 255;

/// Verbs of a configuration file that are accepted; their attributes are `name=value`.
const VERBS: &[&str] = &[
    "auth_add", "config", "default_auth", "env", "include", "listen", "load", "log_level",
    "loglevel", "metric_sets_default_authz", "option", "prdcr_add", "prdcr_start",
    "prdcr_start_regex", "set_memory", "set_route", "start", "stop", "strgp_add",
    "strgp_metric_add", "strgp_prdcr_add", "strgp_start", "updtr_add", "updtr_prdcr_add",
    "updtr_start",
];

extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

extern "C" fn end(_: i32) {
    // SAFETY: _exit is async-signal-safe.
    unsafe { _exit(0) }
}

/// Process 1 of a container ignores every signal that it has no handler for.
fn end_on_signals() {
    for number in [2, 15] {
        // SAFETY: the handler only calls _exit, which may be called from a signal handler.
        unsafe { signal(number, end) };
    }
}

fn main() {
    let args: Vec<String> = env::args().collect();
    let name = args[0].rsplit('/').next().unwrap_or_default();
    match name {
        "ldms_ls" | "ldmsd_controller" => client(name, &args[1..]),
        _ => daemon(&args[1..]),
    }
}

/// What an option is called in short, whether it takes a value, and what it is called in full.
type Known = (char, bool, &'static str);

/// Options in the order given, as getopt reads them: `-x V`, `-xV`, `--xprt V`, `--xprt=V`.
fn options(args: &[String], known: &[Known]) -> Result<Vec<(char, String)>, String> {
    let mut found = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = |short, inline: Option<&str>| match inline {
            Some(v) => Ok((short, v.to_string())),
            None => rest.next().map(|v| (short, v.clone())).ok_or(format!("{arg} needs a value")),
        };
        if let Some(long) = arg.strip_prefix("--") {
            let (name, inline) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
            match known.iter().find(|k| k.2 == name) {
                Some(&(short, true, _)) => found.push(value(short, inline)?),
                Some(&(short, false, _)) if inline.is_none() => found.push((short, String::new())),
                _ => return Err(format!("unknown option {arg}")),
            }
        } else if let Some(cluster) = arg.strip_prefix('-') {
            let mut letters = cluster.chars();
            while let Some(letter) = letters.next() {
                let after = letters.as_str();
                match known.iter().find(|k| k.0 == letter) {
                    Some(&(short, true, _)) => {
                        found.push(value(short, Some(after).filter(|s| !s.is_empty()))?);
                        break;
                    }
                    Some(&(short, false, _)) => found.push((short, String::new())),
                    None => return Err(format!("unknown option -{letter}")),
                }
            }
        } else {
            return Err(format!("unknown argument {arg}"));
        }
    }
    Ok(found)
}

// ---------------------------------------------------------------- the daemon

const DAEMON: &[Known] = &[
    ('x', true, "xprt"), ('a', true, "default_auth"), ('A', true, "default_auth_args"),
    ('c', true, "config"), ('l', true, "log_file"), ('v', true, "log_level"),
    ('m', true, "set_memory"), ('n', true, "daemon_name"), ('r', true, "pid_file"),
    ('P', true, "worker_threads"), ('B', true, "banner"), ('H', true, "hostname"),
    ('s', true, "kernel_set_path"), ('y', true, "yaml"), ('L', true, "log_config"),
    ('F', false, "foreground"), ('k', false, "publish_kernel"), ('V', false, "version"),
    ('h', false, "help"),
];

struct Daemon {
    auth: String,
    socket: Option<String>,
    args: String,
    config: String,
    log: Option<String>,
}

impl Daemon {
    fn say(&self, text: &str) {
        let line = format!("ldmsd (stand-in): {text}\n");
        let file = self.log.as_ref().and_then(|p| {
            fs::OpenOptions::new().create(true).append(true).open(p).ok()
        });
        // A log that cannot be written must not end the daemon.
        let _ = match file {
            Some(mut f) => f.write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }

    fn fail(&self, code: i32, text: &str) -> ! {
        self.say(text);
        exit(code)
    }
}

fn daemon(args: &[String]) {
    end_on_signals();
    let given = options(args, DAEMON).unwrap_or_else(|e| {
        eprintln!("ldmsd (stand-in): {e}");
        exit(BAD_OPTION)
    });
    let last = |c| given.iter().rev().find(|(k, _)| *k == c).map(|(_, v)| v.clone());
    if last('V').is_some() {
        println!("LDMSD Version: {VERSION}");
        return;
    }
    if last('h').is_some() {
        println!("ldmsd ({VERSION})\n  -x XPRT:PORT -c FILE -a none|munge -v LEVEL -l FILE …");
        return;
    }
    let mut me = Daemon {
        auth: last('a').unwrap_or("none".into()),
        socket: last('A').and_then(|v| v.strip_prefix("socket=").map(str::to_string)),
        args: args.join(" "),
        config: "-".into(),
        log: last('l'),
    };
    let mut ends: Vec<String> =
        given.iter().filter(|(k, _)| *k == 'x').map(|(_, v)| v.clone()).collect();
    if ends.is_empty() && last('c').is_none() {
        me.fail(NOTHING_TO_DO, "neither -x nor -c was given");
    }
    if let Some(path) = last('c') {
        ends.extend(read_config(&mut me, &path));
    }
    match me.auth.as_str() {
        "none" | "naive" => {}
        "munge" => {
            let seal = munge(me.socket.as_deref());
            if seal.is_none_or(|s| !unmunge(me.socket.as_deref(), &s)) {
                me.fail(CANNOT_LISTEN, "auth munge: no munged answers");
            }
        }
        other => me.fail(CANNOT_LISTEN, &format!("no authentication plugin '{other}'")),
    }
    let listeners: Vec<TcpListener> = ends.iter().map(|end| listen(&me, end)).collect();
    if let Some(path) = last('r') {
        if let Err(e) = fs::write(&path, format!("{}\n", std::process::id())) {
            me.say(&format!("cannot write {path}: {e}"));
        }
    }
    let me = Arc::new(me);
    for listener in listeners {
        let me = Arc::clone(&me);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let me = Arc::clone(&me);
                thread::spawn(move || answer(&me, stream));
            }
        });
    }
    loop {
        thread::park();
    }
}

/// Checks the configuration file and returns the ends that its `listen` lines ask for.
fn read_config(me: &mut Daemon, path: &str) -> Vec<String> {
    let text = fs::read_to_string(path)
        .unwrap_or_else(|e| me.fail(NO_SUCH_CONFIG, &format!("cannot read {path}: {e}")));
    let mut ends = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        let Some(verb) = words.next().filter(|w| !w.starts_with('#')) else { continue };
        let place = format!("{path}:{}", number + 1);
        if !VERBS.contains(&verb) {
            me.fail(BAD_CONFIG, &format!("{place}: unknown command '{verb}'"));
        }
        let attributes: Vec<(&str, &str)> =
            words.map(|w| w.split_once('=').unwrap_or((w, ""))).collect();
        let value = |key| attributes.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        match verb {
            "load" => match value("name") {
                Some(name) if plugin_exists(name) => {}
                Some(name) => me.fail(NO_SUCH_PLUGIN, &format!("{place}: no plugin '{name}'")),
                None => me.fail(BAD_CONFIG, &format!("{place}: load needs name=")),
            },
            "listen" => {
                let port = value("port").map_or(PORT.to_string(), str::to_string);
                ends.push(format!("{}:{port}", value("xprt").unwrap_or("sock")));
            }
            _ => {}
        }
    }
    me.config = text.lines().next().unwrap_or_default().to_string();
    ends
}

fn plugin_exists(name: &str) -> bool {
    let path = env::var("LDMSD_PLUGIN_LIBPATH").unwrap_or("/opt/ovis/lib/ovis-ldms".into());
    path.split(':').any(|dir| fs::metadata(format!("{dir}/lib{name}.so")).is_ok())
}

/// Listens on `XPRT:PORT`, on all addresses, or ends the program as ldmsd does.
fn listen(me: &Daemon, end: &str) -> TcpListener {
    let (xprt, port) = end.split_once(':').map_or((end, Ok(PORT)), |(x, p)| (x, p.parse()));
    let Ok(port) = port else { me.fail(CANNOT_LISTEN, &format!("bad port in '{end}'")) };
    if xprt != "sock" {
        me.fail(CANNOT_LISTEN, &format!("transport '{xprt}': no such hardware here"));
    }
    let listener = TcpListener::bind(("0.0.0.0", port))
        .unwrap_or_else(|e| me.fail(CANNOT_LISTEN, &format!("cannot listen on {end}: {e}")));
    me.say(&format!("listening on {end}, auth {}", me.auth));
    listener
}

fn answer(me: &Daemon, mut stream: TcpStream) {
    let mut line = String::new();
    // A client that says nothing must not hold a thread for ever.
    let heard = stream.set_read_timeout(Some(Duration::from_secs(10))).and_then(|()| {
        BufReader::new((&stream).take(65536)).read_line(&mut line)
    });
    let said = line.trim();
    let accepted = heard.is_ok()
        && match said.strip_prefix("auth=munge ") {
            Some(seal) if me.auth == "munge" => {
                let good = unmunge(me.socket.as_deref(), seal);
                if !good {
                    me.say("munge_decode() failed. Invalid credential");
                }
                good
            }
            _ => said == "auth=none" && me.auth != "munge",
        };
    let text = if accepted { report(me) } else { format!("{REJECTED}\n") };
    // The client may have gone: that is its own affair.
    let _ = stream.write_all(text.as_bytes());
}

fn report(me: &Daemon) -> String {
    let first_line = |path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().next().unwrap_or_default().to_string()
    };
    let variable = |name| env::var(name).unwrap_or_default();
    let numeric = |e: &fs::DirEntry| {
        e.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())
    };
    let processes = fs::read_dir("/proc").map_or(0, |d| d.flatten().filter(numeric).count());
    format!(
        "compid={}\ncomponent_id={}\nhostname={}\nprocesses={processes}\ninit={}\npid={}\n\
         config={}\nauth={}\nargs={}\nversion={VERSION}\n",
        variable("COMPID"),
        variable("COMPONENT_ID"),
        first_line("/proc/sys/kernel/hostname"),
        first_line("/proc/1/comm"),
        std::process::id(),
        me.config,
        me.auth,
        me.args,
    )
}

// ---------------------------------------------------------------- munge

/// A credential without a payload from the real munge, or nothing where it does not work.
fn munge(socket: Option<&str>) -> Option<String> {
    let mut command = Command::new("munge");
    command.arg("-n").args(socket.map(|s| format!("--socket={s}")));
    let out = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| text.trim().to_string())
}

/// Whether the real munge accepts the credential (once: it refuses a replay).
fn unmunge(socket: Option<&str>, seal: &str) -> bool {
    let mut command = Command::new("unmunge");
    command.args(socket.map(|s| format!("--socket={s}")));
    let Ok(mut child) =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    else {
        return false;
    };
    if let Some(mut input) = child.stdin.take() {
        // A write that fails leaves a credential that unmunge refuses.
        let _ = writeln!(input, "{seal}");
    }
    child.wait().is_ok_and(|status| status.success())
}

// ---------------------------------------------------------------- the clients

const CLIENT: &[Known] = &[
    ('x', true, "xprt"), ('p', true, "port"), ('h', true, "host"), ('a', true, "auth"),
    ('A', true, "auth_arg"), ('m', true, "memsz"), ('w', true, "wait"), ('E', true, "regex"),
    ('l', false, "long"), ('v', false, "verbose"), ('d', false, "dictionary"),
    ('V', false, "version"),
];

/// Asks a daemon and prints what it answers; exit 1 where it cannot be reached or refuses.
fn client(name: &str, args: &[String]) {
    let given = options(args, CLIENT).unwrap_or_else(|e| {
        eprintln!("{name} (stand-in): {e}");
        exit(BAD_OPTION)
    });
    let last = |c| given.iter().rev().find(|(k, _)| *k == c).map(|(_, v)| v.as_str());
    if last('V').is_some() {
        println!("{name} {VERSION}");
        return;
    }
    let refused = || -> ! {
        eprintln!("{REJECTED}");
        exit(1)
    };
    let socket = last('A').and_then(|v| v.strip_prefix("socket="));
    let line = match last('a').unwrap_or("none") {
        "none" => "auth=none".to_string(),
        "munge" => munge(socket).map_or_else(|| refused(), |seal| format!("auth=munge {seal}")),
        _ => refused(),
    };
    let Ok(port) = last('p').map_or(Ok(PORT), str::parse) else { refused() };
    if last('x').is_some_and(|x| x != "sock") {
        refused()
    }
    let mut text = String::new();
    let host = address(last('h').unwrap_or("localhost"));
    let asked = TcpStream::connect((host.as_str(), port)).and_then(|mut s| {
        s.set_read_timeout(Some(Duration::from_secs(10)))?;
        writeln!(s, "{line}")?;
        s.read_to_string(&mut text)
    });
    if asked.is_err() || text.is_empty() || text.starts_with(REJECTED) {
        refused()
    }
    print!("{text}");
}

/// A host's IPv4 address as getent tells it: a static program must not load the image's modules for
/// names. What getent does not know goes on as it is, and fails to connect.
fn address(host: &str) -> String {
    if host == "localhost" {
        return "127.0.0.1".to_string();
    }
    let out = Command::new("getent").args(["ahostsv4", host]).output();
    let text = out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().next().map_or(host.to_string(), str::to_string)
}
