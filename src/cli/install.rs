//! `ldms-install`: its arguments and what it prints.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};

use super::ask::Terminal;
use super::bars::Bars;
use super::{bytes, print, print_json, printable};
use crate::answers::{Ask, Never};
use crate::apply::Recovered;
use crate::engine::Kind;
use crate::error::Result;
use crate::health::Status;
use crate::host::Interrupt;
use crate::install::open::Which;
use crate::install::{self, Outcome, Report, Request, Session};
use crate::record::CommandRecord;
use crate::root::Root;

/// Install container images from a signed bundle and run them under systemd
///
/// Without a verb: installs the roles given, or, without --role, brings what is
/// installed up to the bundle. Everything needed is verified before the first
/// change. From then on systemctl runs the services.
#[derive(Parser)]
#[command(
    name = "ldms-install",
    version,
    max_term_width = 80,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true
)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    install: Install,
}

/// What is left to do for a prepared root.
const LATER: &str = "
On each host, after its first boot, the images are loaded from the medium:
  ldms-install load --bundle FILE
";

const EXAMPLES: &str = include_str!("../../packaging/help/install.txt");

#[derive(Subcommand)]
enum Verb {
    Verify(Verify),
    Load(Load),
    Status(Look),
    Shell(Shell),
    Uninstall(Uninstall),
    Recover(Recover),
    Export(Export),
}

#[derive(Args)]
struct Bundles {
    /// The bundle [default: the one beside this program, or here]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Public key to trust, besides /etc/ldms/trusted.d/*.pub
    #[arg(long, value_name = "FILE")]
    pubkey: Vec<PathBuf>,
}

impl Bundles {
    fn which(self) -> Which {
        Which { bundle: self.bundle, pubkeys: self.pubkey }
    }
}

#[derive(Args)]
struct Place {
    /// Work on the files below DIR instead of this host
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
}

#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct Install {
    /// What this node is for; NAME=ROLE gives the service a name of its own
    #[arg(long, value_name = "ROLE|NAME=ROLE")]
    role: Vec<String>,
    #[command(flatten)]
    bundles: Bundles,
    /// What runs the containers: docker or podman
    #[arg(long)]
    engine: Option<Kind>,
    /// Answer a question: for all services, or for one with SERVICE.KEY
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// With munge=image-key: use the key in the image, which everybody has
    #[arg(long)]
    accept_insecure_munge_key: bool,
    /// Take answers from a file like /etc/ldms/install.toml
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Never ask: take defaults, and list what has none
    #[arg(long)]
    yes: bool,
    /// Install and enable, but start nothing
    #[arg(long)]
    no_start: bool,
    /// Only print what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print the outcome as JSON; asks nothing
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Prove the bundle, or a role's share of it, without installing
#[derive(Args)]
struct Verify {
    #[command(flatten)]
    bundles: Bundles,
    /// Only what these roles need
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Load the images of what is installed, on a host booted from a prepared root
#[derive(Args)]
struct Load {
    #[command(flatten)]
    bundles: Bundles,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// Show what is installed and how it is
#[derive(Args)]
struct Look {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Open a shell in a running service, or run a command there
///
/// As 'docker exec' or 'podman exec' would, on this terminal. The exit code is
/// the command's.
#[derive(Args)]
#[command(after_help = SHELL_EXAMPLES)]
struct Shell {
    /// The service, as 'ldms-install status' names it
    service: String,
    /// The command and its arguments [default: bash, or sh where there is none]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const SHELL_EXAMPLES: &str = include_str!("../../packaging/help/shell.txt");

/// Remove what was installed and nobody has edited
#[derive(Args)]
struct Uninstall {
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Only print what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print the outcome as JSON; asks nothing
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Bring an interrupted run to an end: undo it, or complete it
#[derive(Args)]
struct Recover {
    #[command(flatten)]
    place: Place,
}

/// Write an image to standard output as a docker archive
#[derive(Args)]
struct Export {
    #[command(flatten)]
    bundles: Bundles,
    /// The image: ovishpc/ldms-samp, or ldms-samp
    image: String,
    #[command(flatten)]
    place: Place,
}

impl Arguments {
    /// JSON is asked for.
    pub fn json(&self) -> bool {
        match &self.verb {
            None => self.install.json,
            Some(Verb::Verify(verify)) => verify.json,
            Some(Verb::Load(load)) => load.json,
            Some(Verb::Status(look)) => look.json,
            Some(Verb::Uninstall(uninstall)) => uninstall.json,
            Some(Verb::Recover(_) | Verb::Export(_) | Verb::Shell(_)) => false,
        }
    }
}

/// Does what the arguments say.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.verb {
        None => arguments.install.run(),
        Some(Verb::Verify(verify)) => verify.run(),
        Some(Verb::Load(load)) => load.run(),
        Some(Verb::Status(look)) => look.run(),
        Some(Verb::Shell(shell)) => Err(install::shell::shell(&shell.service, &shell.command)),
        Some(Verb::Uninstall(uninstall)) => uninstall.run(),
        Some(Verb::Recover(recover)) => recover.run(),
        Some(Verb::Export(export)) => export.run(),
    }
}

/// Whoever answers questions: nobody with `--yes` and `--json`.
fn asker(never: bool) -> Box<dyn Ask> {
    if never { Box::new(Never) } else { Box::new(Terminal::default()) }
}

impl Install {
    fn run(self) -> Result<()> {
        let mut ask = asker(self.yes || self.json);
        let interrupt = Interrupt::watch()?;
        let bars = Bars::new(self.json);
        let mut set = self.set;
        if self.accept_insecure_munge_key {
            set.push("accept-insecure-munge-key=true".into());
        }
        let request = Request {
            root: self.place.root,
            which: self.bundles.which(),
            roles: self.role,
            engine: self.engine,
            set,
            answers: self.answers,
            start: !self.no_start,
            dry_run: self.dry_run,
        };
        let mut session = Session { ask: &mut *ask, interrupt: &interrupt, progress: &bars };
        let outcome = install::install(&request, &mut session)?;
        if self.json {
            return print_json(&outcome);
        }
        if request.dry_run {
            return print(&dry_run(&outcome));
        }
        warn(&outcome, &bars);
        if !outcome.changed {
            return print(&format!("{} is installed already; nothing to do\n", outcome.bundle));
        }
        let report = install::status(&request.root)?;
        let live = Root::open(&request.root)?.is_live();
        let notices =
            outcome.notices.iter().map(|notice| format!("\n{}\n", printable(notice.trim())));
        let notices: String = notices.collect();
        let later = if live { "" } else { LATER };
        print(&format!(
            "{} is installed\n\n{}{later}{notices}",
            outcome.bundle,
            table(&report, live)
        ))
    }
}

fn dry_run(outcome: &Outcome) -> String {
    let signer = outcome
        .signer
        .as_ref()
        .map(|signer| format!("signed by key {}: {}\n", signer.key_id, printable(&signer.comment)));
    let warnings = lines(outcome.warnings.iter().map(|line| format!("warning: {line}")));
    format!(
        "{}\n{}{warnings}this would be done:\n\n{}",
        outcome.bundle,
        signer.unwrap_or_default(),
        printable(&outcome.plan.to_string())
    )
}

/// Each with its line end.
fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

fn warn(outcome: &Outcome, bars: &Bars) {
    use crate::progress::Progress;
    for note in &outcome.plan.notes {
        bars.note(&format!("note: {note}"));
    }
    for warning in &outcome.warnings {
        bars.note(&format!("warning: {warning}"));
    }
}

/// A line for each service, and how to go on.
fn table(report: &Report, live: bool) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    // Writing to a String cannot fail.
    for service in &report.services {
        let Status { name, role, unit, state, image, image_there, version, .. } = service;
        let how = if live { format!("{} ({})", state.active, state.sub) } else { "enabled".into() };
        let since =
            if state.since.is_empty() { String::new() } else { format!(" since {}", state.since) };
        let _ = writeln!(text, "{name}  {how}{since}");
        if let Some(of) = &service.companion_of {
            let _ = writeln!(text, "  in      the container of {of}");
        } else if name != role {
            let _ = writeln!(text, "  role    {role}");
        }
        let there = match image_there {
            Some(false) => "  (not in the engine: ldms-install load)",
            _ => "",
        };
        let _ = writeln!(text, "  unit    {unit}");
        let _ = writeln!(text, "  image   {image}  version {version}{there}");
        for file in &service.changed_files {
            let file = printable(&file.display().to_string());
            let _ = writeln!(text, "  changed {file} since it was started: restart it to use it");
        }
        if let Some(line) = &service.last_line {
            let _ = writeln!(text, "  said    {}", printable(line));
        }
    }
    for CommandRecord { name, role, path, image } in &report.commands {
        let _ = writeln!(text, "{name}  command {}", path.display());
        if name != role {
            let _ = writeln!(text, "  role    {role}");
        }
        let _ = writeln!(text, "  image   {image}");
    }
    for note in &report.notes {
        let _ = writeln!(text, "\nnote: {}", printable(note));
    }
    if let (true, Some(first)) = (live, report.services.first()) {
        let _ = writeln!(text, "\nsystemctl status {0}; journalctl -u {0}", first.unit);
    }
    text
}

impl Verify {
    fn run(self) -> Result<()> {
        let begun = Instant::now();
        let proof = install::verify(
            &self.place.root,
            &self.bundles.which(),
            &self.role,
            &Interrupt::watch()?,
            &Bars::new(self.json),
        )?;
        let seconds = begun.elapsed().as_secs_f64();
        if self.json {
            return print_json(&serde_json::json!({ "seconds": seconds, "proof": proof }));
        }
        let images =
            lines(proof.images.iter().map(|(name, size)| format!("  {name}  {}", bytes(*size))));
        print(&format!(
            "{} is whole: {} members, {}, {seconds:.1} s, {}/s\n\
             signed by key {} ({}): {}\n{images}",
            proof.bundle,
            proof.verified.members,
            bytes(proof.verified.bytes),
            bytes((proof.verified.bytes as f64 / seconds.max(0.001)) as u64),
            proof.signer.key_id,
            proof.signer.key,
            printable(&proof.signer.comment)
        ))
    }
}

impl Load {
    fn run(self) -> Result<()> {
        let interrupt = Interrupt::watch()?;
        let bars = Bars::new(self.json);
        let mut session = Session { ask: &mut Never, interrupt: &interrupt, progress: &bars };
        let outcome = install::load("/".as_ref(), &self.bundles.which(), &mut session)?;
        if self.json {
            return print_json(&outcome);
        }
        warn(&outcome, &bars);
        print(if outcome.changed { "images loaded\n" } else { "all images are there already\n" })
    }
}

impl Look {
    fn run(self) -> Result<()> {
        let report = install::status(&self.place.root)?;
        if self.json {
            return print_json(&report);
        }
        let Some(bundle) = &report.bundle else { return print("nothing is installed\n") };
        let engine = report.engine.map(|kind| format!(", run by {kind}")).unwrap_or_default();
        let live = Root::open(&self.place.root)?.is_live();
        print(&format!("{bundle}{engine}\n\n{}", table(&report, live)))
    }
}

impl Uninstall {
    fn run(self) -> Result<()> {
        let mut ask = asker(self.yes || self.json || self.dry_run);
        let interrupt = Interrupt::watch()?;
        let bars = Bars::new(self.json);
        let mut session = Session { ask: &mut *ask, interrupt: &interrupt, progress: &bars };
        let outcome = install::uninstall(&self.place.root, self.dry_run, &mut session)?;
        if self.json {
            return print_json(&outcome);
        }
        if self.dry_run {
            return print(&dry_run(&outcome));
        }
        warn(&outcome, &bars);
        print(&format!("{} is removed\n", outcome.bundle))
    }
}

impl Recover {
    fn run(self) -> Result<()> {
        let interrupt = Interrupt::watch()?;
        let bars = Bars::new(false);
        let session = Session { ask: &mut Never, interrupt: &interrupt, progress: &bars };
        print(&match install::recover(&self.place.root, &session)? {
            Recovered::Nothing => "nothing was interrupted\n".to_owned(),
            Recovered::Undone(verb) => format!("the interrupted '{verb}' is undone\n"),
            Recovered::Completed(verb) => format!("the interrupted '{verb}' is completed\n"),
        })
    }
}

impl Export {
    fn run(self) -> Result<()> {
        let opened = self.bundles.which().open(&Root::open(&self.place.root)?)?;
        super::export(&opened.bundle, &self.image, &Bars::new(false))
    }
}
