//! The directory on the stick: bundle, installer, digests, and a page for the person holding it.
//!
//! Files get their final names only when all of them are complete, signed and on the disk; until
//! then they are called `.partial`, and go away when packing ends any other way.
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
    /// Makes `TARGET.partial` and opens it for writing and reading, empty; a left-over one is
    /// removed first. A link of that name on the medium is not followed: it might point anywhere.
    pub fn create(target: &Path, mode: u32) -> Result<(Self, File)> {
        let mut path = target.to_owned().into_os_string();
        path.push(".partial");
        let path = PathBuf::from(path);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(unwritable("cannot remove what an earlier run left", &path, e));
            }
            _ => {}
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .map_err(|e| unwritable("cannot make it", &path, e))?;
        Ok((Partial { path, target: target.to_owned(), kept: false }, file))
    }

    /// Where it is while it is being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the complete and synced file its name; what has that name is replaced whole.
    fn keep(mut self) -> Result<()> {
        fs::rename(&self.path, &self.target)
            .map_err(|e| unwritable("cannot name it", &self.target, e))?;
        self.kept = true;
        Ok(())
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

/// FAT holds no file of 4 GiB.
pub(crate) const TOO_LARGE: &str =
    "its file system holds no file this large: format the medium as exFAT or ext4";

/// An error of the medium, with what helps against it.
fn unwritable(what: &str, path: &Path, error: io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull => "make room on the medium, or use a larger one",
        io::ErrorKind::FileTooLarge => TOO_LARGE,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "mount the medium writable, or name a directory that you may write with --output"
        }
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotFound => "name a directory, or where one can be made, with --output",
        _ => "the medium may be failing: try another one",
    };
    Error::failed(what).at(path.display()).because(error).remedy(remedy)
}

/// Makes the directory that becomes the medium, if it is not there, and sees that `bundle` is
/// not on it.
pub fn prepare(folder: &Path, bundle: &str) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| unwritable("cannot make the directory", folder, e))?;
    let target = folder.join(bundle);
    if target.exists() {
        return Err(Error::failed("it exists already").at(target.display()).remedy(
            "pack under the next release number (--release), or remove it if it is not needed",
        ));
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| unwritable("cannot sync it", folder, e))
}

/// Writes a small file, synced; it waits for its name.
fn put(
    folder: &Path,
    name: &str,
    mode: u32,
    bytes: &mut dyn io::Read,
) -> Result<(Partial, Digest, u64)> {
    let (partial, file) = Partial::create(&folder.join(name), mode)?;
    let broken = |e| unwritable("cannot write it", &partial.path, e);
    let mut file = Hashing::new(file);
    io::copy(bytes, &mut file).and_then(|_| file.flush()).map_err(broken)?;
    let (digest, size, file) = file.finish();
    file.sync_all().map_err(broken)?;
    Ok((partial, digest, size))
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

/// Puts everything beside the complete bundle in `partial` into `folder`, and then gives all of it
/// its names.
pub fn complete(
    folder: &Path,
    partial: Partial,
    manifest: &Manifest,
    installer: &Path,
    key: &SecretKey,
    progress: &dyn Progress,
) -> Result<Medium> {
    let bundle = bundle_name(manifest);
    let (installer, installer_digest, installer_bytes) =
        put(folder, INSTALLER, 0o755, &mut named::open(installer)?)?;
    let key_id = crate::trust::Key::parse(&key.public()?, "the public key")?.id();
    let readme = readme(&bundle, manifest, &key_id)?;
    let (readme, readme_digest, _) = put(folder, "README.txt", 0o644, &mut readme.as_bytes())?;
    let sums = format!(
        "{}  {bundle}\n{}  {INSTALLER}\n{}  README.txt\n",
        digest_of(partial.path(), progress)?.hex(),
        installer_digest.hex(),
        readme_digest.hex()
    );
    let (digests, ..) = put(folder, DIGESTS, 0o644, &mut sums.as_bytes())?;
    let comment = format!("medium of {}", manifest.title());
    let signature = key.sign(sums.as_bytes(), &comment)?;
    let name = format!("{DIGESTS}.minisig");
    let (signature, ..) = put(folder, &name, 0o644, &mut &signature[..])?;
    // The bundle first: without it the rest would speak of nothing.
    for file in [partial, installer, readme, digests, signature] {
        file.keep()?;
    }
    sync_folder(folder)?;
    Ok(Medium { bundle, installer: installer_digest, installer_bytes })
}

/// Reads the bundle once more, from the medium.
fn digest_of(bundle: &Path, progress: &dyn Progress) -> Result<Digest> {
    const TASK: &str = "digest";
    let broken = |e| Error::failed("cannot read it again").at(bundle.display()).because(e);
    let mut file = named::open(bundle)?;
    progress.begin(TASK, file.metadata().map_err(broken)?.len());
    let mut digest = Hashing::new(io::sink());
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = io::Read::read(&mut file, &mut buffer).map_err(broken)?;
        if n == 0 {
            break;
        }
        digest.write_all(&buffer[..n]).map_err(broken)?;
        progress.advance(TASK, n as u64);
    }
    progress.end(TASK);
    Ok(digest.finish().0)
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

/// Refuses an installer that would not run on a host: one that needs the host's libraries, or one
/// for another architecture than that of `platform`, where that is known.
pub fn check_installer(path: &Path, platform: Option<&Platform>) -> Result<()> {
    use elf::ElfStream;
    use elf::abi::{EM_AARCH64, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64, PT_INTERP};
    let remedy = "build it with 'make installer', or name another one with --installer FILE";
    let refuse = |what: &str| Error::usage(what).at(path.display()).remedy(remedy);
    let file = named::open(path).map_err(|e| e.remedy(remedy))?;
    let program = ElfStream::<elf::endian::AnyEndian, _>::open_stream(file)
        .map_err(|e| refuse("this is not a Linux program").because(e))?;
    if program.segments().iter().any(|segment| segment.p_type == PT_INTERP) {
        return Err(refuse("this installer is not static: it would need the host's libraries"));
    }
    let Some(platform) = platform else { return Ok(()) };
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
    Ok(())
}
