//! A medium as an administrator gets it: packed by the real `ldms-pack` out of the sample
//! images, with the real installer on it; and copies of it that can be damaged byte by byte.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ldms_bundle::digest::Digest;
use nix::fcntl::{Flock, FlockArg};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/host/media");

/// A directory that lies on a stick, and the keys, which come by another way.
#[derive(Debug)]
pub struct Medium {
    /// The bundle, the installer, a page to read.
    pub dir: PathBuf,
    /// `ldms.pub`, whose key has signed it, and `stranger.pub`, whose key has not.
    pub keys: PathBuf,
}

impl Medium {
    /// The medium of all tests. Packed when there is none yet of these very programs and images,
    /// which takes ten seconds; a new key is made each time.
    pub fn get() -> &'static Self {
        static MEDIUM: OnceLock<Medium> = OnceLock::new();
        MEDIUM.get_or_init(|| Self::make(CACHE, None))
    }

    /// The same with the tests' own profiles beside the product's.
    pub fn with_test_profiles() -> &'static Self {
        static MEDIUM: OnceLock<Medium> = OnceLock::new();
        let profiles = Path::new(REPOSITORY).join("tests/host/profiles");
        MEDIUM.get_or_init(|| Self::make(&format!("{CACHE}-test-profiles"), Some(&profiles)))
    }

    /// The medium in `cache`, which is packed anew if it is made of anything else.
    fn make(cache: &str, profiles: Option<&Path>) -> Self {
        let dist = Path::new(REPOSITORY).join("target/dist");
        let images = Path::new(REPOSITORY).join("target/images/small");
        let mut made_of = Vec::new();
        for path in [dist.join("ldms-pack"), dist.join("ldms-install"), images.join(".stamp")] {
            made_of.extend(fs::read(&path).unwrap_or_else(|e| {
                panic!("{}: {e}\nrun these tests with: make host-test", path.display())
            }));
        }
        let own = profiles.iter().flat_map(|path| fs::read_dir(path).unwrap());
        let own: BTreeSet<PathBuf> = own.map(|entry| entry.unwrap().path()).collect();
        made_of.extend(own.iter().flat_map(|path| fs::read(path).unwrap()));
        let cache = Path::new(cache);
        fs::create_dir_all(cache).unwrap();
        // Another test process may be at it.
        let lock = File::create(cache.join("lock")).unwrap();
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e).unwrap();
        let whole = cache.join(Digest::of(&made_of).hex());
        if !whole.exists() {
            pack(&dist.join("ldms-pack"), &images, profiles, cache, &whole);
        }
        Medium { dir: whole.join("medium"), keys: whole.join("keys") }
    }

    /// The bundle's file name.
    pub fn bundle() -> &'static str {
        "ldms-4.4.4-1.ldms"
    }
}

/// Packs a medium into `whole`, which only appears when all of it is there.
fn pack(program: &Path, images: &Path, profiles: Option<&Path>, cache: &Path, whole: &Path) {
    for entry in fs::read_dir(cache).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap(); // of other programs, or half made
        }
    }
    let partial = whole.with_extension("partial");
    let keys = partial.join("keys");
    run(Command::new(program)
        .args(["keygen", "--no-password", "--out"])
        .arg(partial.join("other")));
    run(Command::new(program).args(["keygen", "--no-password", "--out"]).arg(&keys));
    run(Command::new(program)
        .args(["build", "--version", "4.4.4", "--from"])
        .arg(images)
        .args(profiles.iter().flat_map(|path| [Path::new("--profiles"), path]))
        .arg("--key")
        .arg(keys.join("ldms.key"))
        .arg("--output")
        .arg(partial.join("medium")));
    fs::copy(partial.join("other/ldms.pub"), keys.join("stranger.pub")).unwrap();
    fs::rename(partial, whole).unwrap();
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A copy of the medium whose bundle can be damaged, also while a host has it.
#[derive(Debug)]
pub struct Copy {
    dir: tempfile::TempDir,
    members: Vec<Member>,
}

/// Where a member of the bundle lies in it.
#[derive(Clone, Debug)]
pub struct Member {
    /// `packs/0000.zst`
    pub name: String,
    /// Where its header begins.
    pub header: u64,
    /// Where its content begins.
    pub data: u64,
    /// Bytes of its content.
    pub size: u64,
}

impl Copy {
    pub fn new() -> Self {
        let medium = Medium::get();
        let dir = tempfile::tempdir_in(CACHE).unwrap();
        for name in ["ldms-install", Medium::bundle()] {
            fs::copy(medium.dir.join(name), dir.path().join(name)).unwrap();
        }
        let file = File::open(dir.path().join(Medium::bundle())).unwrap();
        let mut archive = tar::Archive::new(file);
        let members = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                Member {
                    name: entry.path().unwrap().display().to_string(),
                    header: entry.raw_header_position(),
                    data: entry.raw_file_position(),
                    size: entry.size(),
                }
            })
            .collect();
        Copy { dir, members }
    }

    /// The directory that is the medium.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self) -> File {
        let path = self.dir().join(Medium::bundle());
        File::options().read(true).write(true).open(path).unwrap()
    }

    /// The member of this name.
    pub fn member(&self, name: &str) -> &Member {
        self.members.iter().find(|member| member.name == name).unwrap()
    }

    /// All of the bundle, in bytes.
    pub fn size(&self) -> u64 {
        self.file().metadata().unwrap().len()
    }

    /// Flips a bit of the byte at `offset`; the same again puts it right.
    pub fn flip(&self, offset: u64) {
        let mut byte = [0];
        self.file().read_exact_at(&mut byte, offset).unwrap();
        self.file().write_all_at(&[byte[0] ^ 1], offset).unwrap();
    }

    /// Cuts it off at `size`, or lengthens it with zeros.
    pub fn resize(&self, size: u64) {
        self.file().set_len(size).unwrap();
    }

    fn text(&self, name: &str) -> toml::Table {
        let member = self.member(name);
        let mut bytes = vec![0; usize::try_from(member.size).unwrap()];
        self.file().read_exact_at(&mut bytes, member.data).unwrap();
        String::from_utf8(bytes).unwrap().parse().unwrap()
    }

    /// The packs: those that an image needs, and the others.
    pub fn packs(&self, image: &str) -> (Vec<&Member>, Vec<&Member>) {
        let (index, manifest) = (self.text("index.toml"), self.text("manifest.toml"));
        let image = manifest["image"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["name"].as_str() == Some(image))
            .unwrap();
        let layers = image["layers"].as_array().unwrap();
        let needed: BTreeSet<i64> = index["layer"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|layer| layers.contains(&layer["diff_id"]))
            .flat_map(|layer| layer["packs"].as_array().unwrap())
            .map(|number| number.as_integer().unwrap())
            .collect();
        let of_pack = |name: &str| name.strip_prefix("packs/")?.strip_suffix(".zst")?.parse().ok();
        self.members.iter().filter_map(|member| Some((of_pack(&member.name)?, member))).fold(
            (Vec::new(), Vec::new()),
            |(mut these, mut others), (number, member)| {
                if needed.contains(&number) {
                    these.push(member);
                } else {
                    others.push(member);
                }
                (these, others)
            },
        )
    }
}
