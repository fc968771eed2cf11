//! The directory on the stick: bundle, installer, digests, and a page for the person holding it.
//!
//! A bundle gets its final name only when it is complete, signed and on the disk; until then it
//! is called `.partial`, and goes away when packing ends any other way.
#![expect(clippy::disallowed_methods, reason = "a medium is no part of a host")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::bundle::EXTENSION;
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};
use crate::manifest::{Manifest, Platform};
use crate::named;
use crate::progress::Progress;
use crate::signing::SecretKey;

/// The installer's name on a medium.
pub const INSTALLER: &str = "ldms-install";

/// The list of digests on a medium.
pub const DIGESTS: &str = "MEDIUM.sha256";

const README: &str = include_str!("../bundle/medium-readme.txt");

/// A file being written that is gone again unless it is kept.
pub struct Partial {
    path: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl Partial {
    /// Makes `TARGET.partial`, for a file that does not exist yet, and opens it.
    pub fn create(target: &Path) -> Result<(Self, File)> {
        if target.exists() {
            return Err(Error::failed("it exists already").at(target.display()).remedy(
                "pack under the next release number (--release), or remove it if it is not needed",
            ));
        }
        let mut path = target.to_owned().into_os_string();
        path.push(".partial");
        let path = PathBuf::from(path);
        let file = open_new(&path, 0o644)?;
        Ok((Partial { path, target: target.to_owned(), kept: false }, file))
    }

    /// Where it is while it is being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the complete and synced file its name.
    pub fn keep(mut self) -> Result<()> {
        fs::rename(&self.path, &self.target)
            .map_err(|e| Error::failed("cannot name it").at(self.target.display()).because(e))?;
        self.kept = true;
        sync_folder(self.target.parent())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // Where removing fails there is nothing better to do; the name says what it is.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens a file for writing and reading, empty, replacing a left-over one.
fn open_new(path: &Path, mode: u32) -> Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .map_err(|e| Error::failed("cannot make it").at(path.display()).because(e))
}

fn sync_folder(folder: Option<&Path>) -> Result<()> {
    let folder = folder.filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::failed("cannot sync it").at(folder.display()).because(e))
}

/// Writes a small file, synced, under its final name at once: it replaces what was there whole.
fn put(folder: &Path, name: &str, mode: u32, bytes: &mut dyn io::Read) -> Result<(Digest, u64)> {
    let target = folder.join(name);
    let partial = folder.join(format!("{name}.partial"));
    let mut write = || {
        let mut file = Hashing::new(open_new(&partial, mode)?);
        io::copy(bytes, &mut file)
            .and_then(|_| file.flush())
            .map_err(|e| Error::failed("cannot write it").at(partial.display()).because(e))?;
        let (digest, size, file) = file.finish();
        file.sync_all()
            .and_then(|()| fs::rename(&partial, &target))
            .map_err(|e| Error::failed("cannot write it").at(target.display()).because(e))?;
        Ok((digest, size))
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

/// What a second channel needs to know about a medium.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Medium {
    /// The bundle's file name.
    pub bundle: String,
    /// SHA-256 of the installer.
    pub installer: Digest,
    /// Bytes of the installer.
    pub installer_bytes: u64,
}

/// Puts everything but the bundle itself, which is there already, into `folder`.
pub fn complete(
    folder: &Path,
    bundle: &str,
    manifest: &Manifest,
    installer: &Path,
    key: &SecretKey,
    progress: &dyn Progress,
) -> Result<Medium> {
    check_installer(installer, &manifest.platform)?;
    let (installer_digest, installer_bytes) =
        put(folder, INSTALLER, 0o755, &mut named::open(installer)?)?;
    let key_id = crate::trust::Key::parse(&key.public()?, "the public key")?.id();
    let readme = readme(bundle, manifest, &key_id)?;
    let (readme_digest, _) = put(folder, "README.txt", 0o644, &mut readme.as_bytes())?;

    let task = "digest";
    let file = named::open(&folder.join(bundle))?;
    let broken = |e| Error::failed("cannot read it again").at(bundle).because(e);
    progress.begin(task, file.metadata().map_err(broken)?.len());
    let mut bundle_digest = Hashing::new(io::sink());
    let mut file = file;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = io::Read::read(&mut file, &mut buffer).map_err(broken)?;
        if n == 0 {
            break;
        }
        bundle_digest.write_all(&buffer[..n]).map_err(broken)?;
        progress.advance(task, n as u64);
    }
    progress.end(task);
    let (bundle_digest, _, _) = bundle_digest.finish();

    let sums = format!(
        "{}  {bundle}\n{}  {INSTALLER}\n{}  README.txt\n",
        bundle_digest.hex(),
        installer_digest.hex(),
        readme_digest.hex()
    );
    put(folder, DIGESTS, 0o644, &mut sums.as_bytes())?;
    let comment = format!("medium of {}", manifest.title());
    let signature = key.sign(sums.as_bytes(), &comment)?;
    put(folder, &format!("{DIGESTS}.minisig"), 0o644, &mut &signature[..])?;
    sync_folder(Some(folder))?;
    Ok(Medium { bundle: bundle.to_owned(), installer: installer_digest, installer_bytes })
}

fn readme(bundle: &str, manifest: &Manifest, key_id: &str) -> Result<String> {
    let images: Vec<String> = manifest.image.iter().map(|image| image.name.clone()).collect();
    minijinja::Environment::new()
        .render_str(
            README,
            minijinja::context! {
                title => manifest.title(),
                version => manifest.version.clone(),
                release => manifest.release,
                platform => manifest.platform.to_string(),
                images, bundle, key_id,
            },
        )
        // A template's last line end is not rendered.
        .map(|text| text + "\n")
        .map_err(|e| Error::failed("cannot write the medium's README").because(e))
}

/// The bundle's file name for a manifest.
pub fn bundle_name(manifest: &Manifest) -> String {
    format!("{}.{EXTENSION}", manifest.title())
}

/// Refuses an installer that would not run on a host of `platform`: another architecture, or one
/// that needs the host's libraries.
fn check_installer(path: &Path, platform: &Platform) -> Result<()> {
    use elf::ElfStream;
    use elf::abi::{EM_AARCH64, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, PT_INTERP};
    let remedy = "build it with 'make installer', or name another one with --installer FILE";
    let refuse = |what: &str| Error::usage(what).at(path.display()).remedy(remedy);
    let file = named::open(path).map_err(|e| e.remedy(remedy))?;
    let program = ElfStream::<elf::endian::AnyEndian, _>::open_stream(file)
        .map_err(|e| refuse("this is not a Linux program").because(e))?;
    let expected = match &*platform.architecture {
        "amd64" => EM_X86_64,
        "arm64" => EM_AARCH64,
        "ppc64le" => EM_PPC64,
        "s390x" => EM_S390,
        "riscv64" => EM_RISCV,
        other => return Err(refuse(&format!("no installer is known for {other}"))),
    };
    if program.ehdr.e_machine != expected {
        return Err(refuse(&format!("this installer is not for {platform}")));
    }
    if program.segments().iter().any(|segment| segment.p_type == PT_INTERP) {
        return Err(refuse("this installer is not static: it would need the host's libraries"));
    }
    Ok(())
}
