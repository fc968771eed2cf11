//! Finding the bundle and the keys, and opening the one with the other.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bundle::{Bundle, EXTENSION};
use crate::error::{Error, Result};
use crate::named;
use crate::root::Root;
use crate::trust::{KEY_FILE_LIMIT, Key, Signer};

/// The directory of the keys that a site trusts.
pub const TRUSTED: &str = "/etc/ldms/trusted.d";

/// A bundle that may be used, and who vouches for it.
pub struct Opened {
    /// The bundle.
    pub bundle: Bundle,
    /// Who signed it.
    pub signer: Signer,
    /// The signer's key, where it was given for this run and is not yet trusted for good.
    pub new_key: Option<NewKey>,
}

/// A key that could be kept.
pub struct NewKey {
    /// Where it would be kept.
    pub path: PathBuf,
    /// The public key file's text.
    pub text: String,
}

/// Which bundle, and by which keys.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// `--bundle`
    pub bundle: Option<PathBuf>,
    /// `--pubkey`
    pub pubkeys: Vec<PathBuf>,
}

impl Which {
    /// Opens it, trusting the keys given and those that the host beneath `root` trusts.
    pub fn open(&self, root: &Root) -> Result<Opened> {
        let path = match &self.bundle {
            Some(path) => path.clone(),
            None => beside()?,
        };
        let mut keys = Vec::new();
        for (path, text) in trusted(root)? {
            keys.push(Key::parse(&text, &path)?);
        }
        let known = keys.len();
        let mut texts = Vec::new();
        for path in &self.pubkeys {
            let text = named::text(path, KEY_FILE_LIMIT)?;
            keys.push(Key::parse(&text, &path.display().to_string())?);
            texts.push(text);
        }
        let (bundle, signer) = Bundle::open(&path, &keys)?;
        // A key that is known as well as given needs no keeping.
        let new = keys.iter().position(|key| key.fingerprint() == signer.fingerprint);
        let new_key = new.and_then(|n| n.checked_sub(known)).map(|n| NewKey {
            path: Path::new(TRUSTED).join(format!("{}.pub", signer.key_id)),
            text: texts[n].clone(),
        });
        Ok(Opened { bundle, signer, new_key })
    }
}

/// The host's trusted keys: path and text.
fn trusted(root: &Root) -> Result<Vec<(String, String)>> {
    let mut keys = Vec::new();
    for name in root.list(Path::new(TRUSTED))? {
        let path = Path::new(TRUSTED).join(name);
        if path.extension().is_none_or(|end| end != "pub") {
            continue;
        }
        let shown = root.path(&path).display().to_string();
        let bytes = root.read(&path)?.unwrap_or_default();
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::failed("this trusted key is not text").at(&shown))?;
        keys.push((shown, text));
    }
    Ok(keys)
}

/// The bundle that lies beside this program, as it does on a medium, or else in the working
/// directory.
fn beside() -> Result<PathBuf> {
    let program = std::env::current_exe().ok();
    let folders: Vec<PathBuf> =
        program.iter().filter_map(|p| p.parent()).map(Path::to_owned).chain([".".into()]).collect();
    for folder in &folders {
        let mut bundles = bundles_in(folder)?;
        match bundles.len() {
            0 => {}
            1 => return Ok(bundles.remove(0)),
            _ => {
                let names: Vec<String> = bundles.iter().map(|p| p.display().to_string()).collect();
                return Err(Error::usage(format!(
                    "there are several bundles: {}",
                    names.join(", ")
                ))
                .at(folder.display())
                .remedy("say which with --bundle FILE"));
            }
        }
    }
    let places: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
    Err(Error::usage(format!("there is no bundle in {}", places.join(" and in ")))
        .remedy("run the ldms-install on the medium, or name the bundle with --bundle FILE"))
}

/// Bundles in a folder, in the order of their names. What macOS leaves beside files (`._NAME`) is
/// none of them.
fn bundles_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let broken = |e| Error::failed("cannot list it").at(folder.display()).because(e);
    let mut bundles = Vec::new();
    for entry in fs::read_dir(folder).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|end| end == EXTENSION) && path.is_file() {
            bundles.push(path);
        }
    }
    bundles.sort();
    Ok(bundles)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests work in folders of their own")]

    use super::*;

    #[test]
    fn finds_bundles_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.ldms", "a.ldms", "._a.ldms", "c.ldms.partial", "ldms-install"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("d.ldms")).unwrap();
        let names: Vec<String> = bundles_in(folder.path())
            .unwrap()
            .iter()
            .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["a.ldms", "b.ldms"]);
    }
}
