//! `ldms-pack`: its arguments and what it prints.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Parser, Subcommand};

use super::bars::Bars;
use super::{bytes, interruptible, print, print_json, public_key};
use crate::bundle::{Bundle, Share};
use crate::error::{Error, Result};
use crate::images::{self, Source};
use crate::manifest::Platform;
use crate::named;
use crate::pack::{self, Outcome};
use crate::signing::{self, SecretKey};
use crate::trust::{Key, Signer};

/// Make one signed bundle of container images, ready for a USB stick
///
/// Runs where there is internet, or where the images already are. What it makes
/// is installed with ldms-install, which it puts beside the bundle.
#[derive(Parser)]
#[command(name = "ldms-pack", version, max_term_width = 80, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = include_str!("../../packaging/help/pack.txt");

#[derive(Subcommand)]
enum Verb {
    Keygen(Keygen),
    Build(Box<Build>),
    Inspect(Inspect),
    Verify(Verify),
    Export(Export),
}

/// Make a key pair for signing, in minisign's file formats
///
/// Asks for a password that will be needed for every build. Sites get the
/// public key; its fingerprint, which is printed, they get by another way.
#[derive(Args)]
struct Keygen {
    /// Directory for ldms.key (secret) and ldms.pub (public)
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Leave the secret key unencrypted
    #[arg(long, conflicts_with = "password_file")]
    no_password: bool,
    #[command(flatten)]
    password: Password,
}

#[derive(Args)]
struct Password {
    /// Take the secret key's password from the first line of FILE
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Pack images into a signed bundle on a medium
///
/// All images that its roles need, for one platform, unless told otherwise. Every
/// layer is rebuilt from the written bundle before it is signed. At the end it prints
/// what a site needs to know by telephone or on paper.
#[derive(Args)]
#[command(
    override_usage = "ldms-pack build [OPTIONS] --from <SOURCE>... --key <SECRET>\n                       --output <MEDIUM>"
)]
struct Build {
    /// Where images are: a 'docker save' archive, a directory of them, an OCI
    /// layout (directory or tar), docker: or podman:, or IMAGE=ARCHIVE where an
    /// archive does not name its image. Archives may be gzip or zstd
    #[arg(long, required = true, num_args = 1.., value_name = "SOURCE")]
    from: Vec<OsString>,
    /// Secret key to sign with (minisign's format)
    #[arg(long, value_name = "SECRET")]
    key: PathBuf,
    #[command(flatten)]
    password: Password,
    /// Directory that becomes the medium: the mounted stick, or one on it
    #[arg(long, value_name = "MEDIUM")]
    output: PathBuf,
    /// Only these images, with commas between them: ldms-samp,ldms-agg
    #[arg(long, value_name = "IMAGE", value_delimiter = ',')]
    only: Vec<String>,
    /// Profiles of your own: each ROLE.toml in DIR replaces or adds a role, each
    /// file in DIR/config a template of a configuration file
    #[arg(long, value_name = "DIR")]
    profiles: Option<PathBuf>,
    /// Only images of this tag
    #[arg(long)]
    tag: Option<String>,
    /// Let docker: or podman: fetch the images first
    #[arg(long)]
    pull: bool,
    /// Platform to pack, such as linux/arm64, where a source has several
    #[arg(long)]
    platform: Option<Platform>,
    /// Name of the bundle; releases count per name [default: ldms]
    #[arg(long)]
    name: Option<String>,
    /// Version of what is in it [default: the images' common tag]
    #[arg(long)]
    version: Option<String>,
    /// Release of the bundle: counts up with every bundle of this name
    #[arg(long, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    release: u64,
    /// Installer to put on the medium [default: ldms-install beside this program]
    #[arg(long, value_name = "FILE")]
    installer: Option<PathBuf>,
    /// Directory for scratch files [default: TMPDIR or /tmp]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Compression level of zstd, 1 to 22
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(i32).range(1..=22))]
    level: i32,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Trusted {
    /// The bundle
    bundle: PathBuf,
    /// Public key that must have signed it; several: one of them
    #[arg(long, value_name = "FILE", required = true)]
    pubkey: Vec<PathBuf>,
}

impl Trusted {
    fn open(&self) -> Result<(Bundle, Signer)> {
        let keys = self.pubkey.iter().map(|path| public_key(path)).collect::<Result<Vec<Key>>>()?;
        Bundle::open(&self.bundle, &keys)
    }
}

/// Show what is in a bundle: images, layers, sizes, sharing, origins
///
/// Checks the signature first; packs are not read (see verify).
#[derive(Args)]
struct Inspect {
    #[command(flatten)]
    bundle: Trusted,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Prove every byte of a bundle
///
/// Reads all of it: each member must have its signed digest, and there must be
/// nothing else.
#[derive(Args)]
struct Verify {
    #[command(flatten)]
    bundle: Trusted,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Write an image to standard output as a docker archive
///
/// For 'docker load', for 'podman load', for scanners. Every layer is proven;
/// where one is damaged, what was written until then is not a valid archive.
#[derive(Args)]
struct Export {
    #[command(flatten)]
    bundle: Trusted,
    /// The image: ovishpc/ldms-samp, or ldms-samp
    image: String,
}

impl Arguments {
    /// JSON is asked for.
    pub fn json(&self) -> bool {
        match &self.verb {
            Verb::Build(build) => build.json,
            Verb::Inspect(inspect) => inspect.json,
            Verb::Verify(verify) => verify.json,
            Verb::Keygen(_) | Verb::Export(_) => false,
        }
    }
}

/// Does what the arguments say.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.verb {
        Verb::Keygen(keygen) => keygen.run(),
        Verb::Build(build) => build.run(),
        Verb::Inspect(inspect) => inspect.run(),
        Verb::Verify(verify) => verify.run(),
        Verb::Export(export) => export.run(),
    }
}

/// Most bytes of a password file.
const PASSWORD_LIMIT: u64 = 4 << 10;

impl Password {
    fn given(&self) -> Result<Option<String>> {
        let Some(path) = &self.password_file else { return Ok(None) };
        let text = named::text(path, PASSWORD_LIMIT)?;
        match text.lines().next().filter(|line| !line.is_empty()) {
            Some(line) => Ok(Some(line.to_owned())),
            None => Err(Error::usage("its first line is empty")
                .at(path.display())
                .remedy("write the password there; a key without one needs no such file")),
        }
    }

    /// Asks on the terminal, without echo.
    fn ask(prompt: &str, twice: bool) -> Result<String> {
        if !std::io::stdin().is_terminal() {
            return Err(Error::usage("a password is needed and there is no terminal to ask on")
                .remedy("give it with --password-file FILE"));
        }
        let mut question = dialoguer::Password::new().with_prompt(prompt);
        if twice {
            question = question.with_confirmation("Once more", "They differ: try again");
        }
        question.interact().map_err(|e| Error::failed("cannot ask for the password").because(e))
    }
}

impl Keygen {
    fn run(self) -> Result<()> {
        let (secret, public) = (self.out.join("ldms.key"), self.out.join("ldms.pub"));
        for path in [&secret, &public] {
            if path.exists() {
                return Err(Error::usage("there is a key already")
                    .at(path.display())
                    .remedy("name another directory; a lost secret key cannot be made again"));
            }
        }
        let password = match (self.password.given()?, self.no_password) {
            (Some(password), _) => Some(password),
            (None, true) => None,
            (None, false) => Some(Password::ask("Password for the secret key", true)?),
        };
        let pair = signing::generate(password)?;
        let elsewhere = "name a directory that you may write in with --out";
        named::create_dir(&self.out).map_err(|e| e.remedy(elsewhere))?;
        for (path, mode, text) in [(&secret, 0o600, &pair.secret), (&public, 0o644, &pair.public)] {
            named::create(path, mode, text).map_err(|e| e.remedy(elsewhere))?;
        }
        let key = Key::parse(&pair.public, &public.display().to_string())?;
        print(&format!(
            "secret key   {}   (keep it off the stick)\npublic key   {}\n\
             key ID       {}\nfingerprint  {}\n\n\
             Give the public key to every site, and the fingerprint by telephone or on paper.\n",
            secret.display(),
            public.display(),
            key.id(),
            two_lines(&key.fingerprint())
        ))
    }
}

/// Most bytes of a secret key file.
const SECRET_LIMIT: u64 = 4 << 10;

impl Build {
    fn run(self) -> Result<()> {
        let text = named::text(&self.key, SECRET_LIMIT)?;
        let password = self.password.given()?;
        let key = SecretKey::parse(&text, &self.key.display().to_string(), || match password {
            Some(password) => Ok(password),
            None => Password::ask(&format!("Password of {}", self.key.display()), false),
        })?;
        let installer = match self.installer {
            Some(path) => path,
            None => pack::default_installer(&std::env::current_exe().map_err(|e| {
                Error::failed("cannot find this program").because(e).remedy("give --installer FILE")
            })?),
        };
        let cancelled = interruptible()?;
        let request = pack::Request {
            sources: self.from.iter().map(|s| Source::parse(s)).collect::<Result<_>>()?,
            only: self.only,
            profiles: self.profiles,
            options: images::Options {
                tag: self.tag,
                pull: self.pull,
                platform: self.platform,
                scratch: self.scratch.unwrap_or_else(std::env::temp_dir),
            },
            name: self.name,
            version: self.version,
            release: self.release,
            key: &key,
            output: self.output,
            installer,
            level: self.level,
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            cancelled: &cancelled,
        };
        let begun = Instant::now();
        let bars = Bars::new(self.json);
        let outcome = pack::build(&request, &bars)?;
        if self.json {
            return print_json(&outcome);
        }
        print(&summary(&outcome, &request.output, begun.elapsed().as_secs_f64()))
    }
}

/// What is printed after packing: also what a second channel needs.
fn summary(outcome: &Outcome, output: &Path, seconds: f64) -> String {
    let Outcome { manifest, written, medium, .. } = outcome;
    let images = match manifest.image.len() {
        1 => "1 image".to_owned(),
        n => format!("{n} images"),
    };
    format!(
        "\n{} for {}, packed and rebuilt in {seconds:.0} s\n\n\
         bundle       {}\n\
         size         {} for {images} of {}: {} with each layer\n\
         \x20            once, {} with each content once, the rest is compression\n\
         \n\
         Tell every site by telephone or on paper, never on this medium:\n\
         installer    its SHA-256 is\n\
         \x20            {}\n\
         key          {}\n\
         fingerprint  {}\n",
        manifest.title(),
        manifest.platform,
        output.join(&medium.bundle).display(),
        bytes(written.bytes),
        bytes(outcome.images_bytes),
        bytes(outcome.layers_bytes),
        bytes(written.distinct),
        medium.installer.hex(),
        outcome.key_id,
        two_lines(&outcome.fingerprint),
    )
}

/// A fingerprint's groups under each other, behind a label of 13 columns.
fn two_lines(fingerprint: &str) -> String {
    match fingerprint.split_at_checked(39) {
        Some((first, second)) => format!("{first}\n             {}", second.trim_start()),
        None => fingerprint.to_owned(),
    }
}

impl Inspect {
    fn run(self) -> Result<()> {
        let (bundle, signer) = self.bundle.open()?;
        let report = crate::inspect::Report::of(&bundle, signer)?;
        if self.json { print_json(&report) } else { print(&report.to_string()) }
    }
}

impl Verify {
    fn run(self) -> Result<()> {
        let (bundle, signer) = self.bundle.open()?;
        let begun = Instant::now();
        let verified = bundle.verify(Share::All, &|| Ok(()), &Bars::new(self.json))?;
        let seconds = begun.elapsed().as_secs_f64();
        if self.json {
            return print_json(&serde_json::json!({
                "bundle": bundle.manifest().title(),
                "signer": signer,
                "members": verified.members,
                "bytes": verified.bytes,
                "seconds": seconds,
            }));
        }
        print(&format!(
            "{} is whole: {} members, {}, {}/s\nsigned by key {} ({}): {}\n",
            bundle.manifest().title(),
            verified.members,
            bytes(verified.bytes),
            bytes((verified.bytes as f64 / seconds.max(0.001)) as u64),
            signer.key_id,
            signer.key,
            super::printable(&signer.comment),
        ))
    }
}

impl Export {
    fn run(self) -> Result<()> {
        let (bundle, _) = self.bundle.open()?;
        super::export(&bundle, &self.image, &Bars::new(false))
    }
}
