//! Whether a munge key can be used: everything that munged insists on, and that it is a secret.
//!
//! What stands on the host is looked at once; [`faults`] is then a pure function, so every fault
//! is told at the same time. Only the original is judged here. It is read and never changed: a
//! host's own munged refuses to start when somebody has given its key away.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::host::facts::MUNGE_KEY;
use crate::manifest::Owner;
use crate::root::{Attr, Look, Root};

/// Fewest bytes: munged refuses to start with less.
pub const LEAST: u64 = 32;
/// Most bytes. munged itself takes a file of any length, and keys of `dd` have many; what is
/// larger than this is another file.
pub const MOST: u64 = 1 << 20;

/// Links that are followed to a directory before it counts as a circle.
const LINKS: u32 = 40;
/// Where users are, without asking a name service: a static program has none, and a root that
/// does not run has only its files. The second is for systems whose own users are not in `/etc`.
const USERS: [&str; 2] = ["/etc/passwd", "/usr/lib/passwd"];
/// munged's own directory on a running host belongs to its user.
const RUN: &str = "/run/munge";

/// What stands where a key is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where, for people
    pub shown: String,
    /// It is the host's own key.
    pub is_hosts: bool,
    /// What
    pub what: What,
    /// The directories above it, links resolved, innermost first
    pub dirs: Vec<(PathBuf, Attr)>,
}

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing
    Absent,
    /// A file
    File {
        /// Bytes
        size: u64,
        /// Owner and mode
        attr: Attr,
        /// It has nothing but zero bytes.
        zeros: bool,
    },
    /// A symbolic link
    Link(PathBuf),
    /// A directory, a device…
    Other,
}

/// Who may own a key and the directories above it, besides root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// The host's munge, if it has one
    pub host: Option<u32>,
    /// The munge of the image
    pub image: u32,
}

/// One thing that is wrong, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong
    pub what: String,
    /// What mends it there; empty where nothing can
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remedy.as_str() {
            "" => f.write_str(&self.what),
            remedy => write!(f, "{}: {remedy}", self.what),
        }
    }
}

impl Users {
    /// The users of the host beneath `root`, and `image`, the owner of the private copy.
    pub fn look(root: &Root, image: Owner) -> Result<Self> {
        let mut host = None;
        for path in USERS {
            let text = root.read(Path::new(path))?.unwrap_or_default();
            host = host.or_else(|| uid_of("munge", &String::from_utf8_lossy(&text)));
        }
        if host.is_none() && root.is_live() {
            // A site's users may be in a directory service, which is not asked.
            host = root.directory(Path::new(RUN))?.map(|attr| attr.uid);
        }
        Ok(Users { host, image: image.uid })
    }

    fn trusts(self, uid: u32) -> bool {
        uid == 0 || uid == self.image || Some(uid) == self.host
    }

    /// Who is meant, for people.
    fn names(self) -> String {
        let host = self.host.map(|uid| format!("the host's munge ({uid}), "));
        format!("root, {}the image's munge ({})", host.unwrap_or_default(), self.image)
    }
}

/// The uid of a user in the text of a `passwd` file.
fn uid_of(user: &str, passwd: &str) -> Option<u32> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then(|| fields.nth(1)?.parse().ok())?
    })
}

impl Found {
    /// Looks at the key `source` of the host beneath `root`.
    pub fn look(root: &Root, source: &Path) -> Result<Self> {
        let what = match root.look(source)? {
            Look::Absent => What::Absent,
            Look::Link { target, .. } => What::Link(target),
            Look::Directory { .. } | Look::Other => What::Other,
            Look::File { size, attr, .. } => {
                What::File { size, attr, zeros: size > 0 && zeros(root, source)? }
            }
        };
        let mut dirs = Vec::new();
        if let Some(dir) = source.parent().map(|dir| canonical(root, dir)).transpose()?.flatten() {
            for dir in dir.ancestors() {
                if let Some(attr) = root.directory(dir)? {
                    dirs.push((root.path(dir), attr));
                }
            }
        }
        let shown = root.path(source).display().to_string();
        Ok(Found { shown, is_hosts: source == Path::new(MUNGE_KEY), what, dirs })
    }
}

/// Everything that is wrong with a key.
pub fn faults(found: &Found, users: Users) -> Vec<Fault> {
    let Found { shown, is_hosts, what, dirs } = found;
    let fault = |what: String, remedy: String| Fault { what, remedy };
    let mut faults = Vec::new();
    match what {
        What::Absent => return vec![fault("there is no file".into(), String::new())],
        What::Other => return vec![fault("it is no regular file".into(), String::new())],
        What::Link(target) => faults.push(fault(
            "it is a symbolic link, which munged does not follow".into(),
            format!("name the file itself, {}", target.display()),
        )),
        What::File { size, attr, zeros } => {
            if *size < LEAST {
                faults.push(fault(
                    format!("a munge key has at least {LEAST} bytes, this one has {size}"),
                    "make one with mungekey, the same for all hosts of the cluster".into(),
                ));
            }
            if *size > MOST {
                faults.push(fault(format!("it has {size} bytes, so it is no key"), String::new()));
            }
            if *zeros {
                faults.push(fault(
                    "it is nothing but zero bytes: the public key of the images, which everybody \
                     has"
                    .into(),
                    "if that is what is meant, say so with --set munge=image-key".into(),
                ));
            }
            if attr.mode & 0o077 != 0 {
                faults.push(fault(
                    format!("others than its owner have rights to it (mode {:04o})", attr.mode),
                    format!("chmod 0400 {shown}"),
                ));
            }
            if !users.trusts(attr.uid) {
                // The host's own key belongs to its munged and nobody else.
                let owner = if *is_hosts { users.host.unwrap_or_default() } else { 0 };
                faults.push(fault(
                    format!("it belongs to uid {}, which is none of {}", attr.uid, users.names()),
                    format!("chown {owner} {shown}"),
                ));
            }
        }
    }
    for (dir, attr) in dirs {
        let dir = dir.display();
        if !users.trusts(attr.uid) {
            faults.push(fault(
                format!("{dir} above it belongs to uid {}, who can replace it", attr.uid),
                format!("chown root {dir}"),
            ));
        }
        if attr.mode & 0o022 != 0 && attr.mode & 0o1000 == 0 {
            faults.push(fault(
                format!("{dir} above it can be written by others (mode {:04o})", attr.mode),
                format!("chmod go-w {dir}"),
            ));
        }
    }
    faults
}

/// Refuses the key `source` if anything is wrong with it. `service` is whom it is for, `owner`
/// who shall have the private copy.
///
/// # Errors
/// `Host`, with every fault and what mends it.
pub fn check(root: &Root, source: &Path, service: &str, owner: Owner) -> Result<()> {
    let found = Found::look(root, source)?;
    refuse(&found, &faults(&found, Users::look(root, owner)?), service)
}

fn refuse(found: &Found, faults: &[Fault], service: &str) -> Result<()> {
    if faults.is_empty() {
        return Ok(());
    }
    let shown = &found.shown;
    let list: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    let error = Error::host(format!("this munge key cannot be used:{}", list.concat())).at(shown);
    let named = format!("--set {service}.munge-key=");
    Err(match &found.what {
        // Where modes and owners are no one's to change (a stick, a network), only a copy helps.
        What::File { size, zeros: false, .. } if (LEAST..=MOST).contains(size) => {
            error.remedy(format!(
                "mend it as said; or copy it to where it can be kept (a stick has no modes): \
                 install -m 0400 {shown} /root/munge.key, then {named}/root/munge.key"
            ))
        }
        _ => error.remedy(format!("name the key of the cluster: {named}FILE")),
    })
}

/// A file has nothing but zero bytes. Only as much as a key may have is read.
fn zeros(root: &Root, path: &Path) -> Result<bool> {
    let Some(file) = root.open_file(path)? else { return Ok(false) };
    let mut bytes = Vec::new();
    file.take(MOST)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::failed("cannot read it").at(root.path(path).display()).because(e))?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

/// The directory `dir` without links, beneath the root; `None` if it is not there.
fn canonical(root: &Root, dir: &Path) -> Result<Option<PathBuf>> {
    let names = |path: &Path| -> Vec<OsString> {
        let name = |c: Component| match c {
            Component::Normal(_) | Component::ParentDir => Some(c.as_os_str().to_owned()),
            _ => None,
        };
        path.components().filter_map(name).collect()
    };
    let mut rest: VecDeque<OsString> = names(dir).into();
    let mut found = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            // What is found so far has no links, so its parent is the real one.
            found.pop();
            continue;
        }
        found.push(name);
        match root.look(&found)? {
            Look::Directory { .. } => {}
            Look::Link { target, .. } if links < LINKS => {
                links += 1;
                found.pop();
                if target.is_absolute() {
                    found = "/".into();
                }
                names(&target).into_iter().rev().for_each(|name| rest.push_front(name));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests work in folders of their own")]

    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const USERS: Users = Users { host: Some(991), image: 101 };

    fn key(size: u64, mode: u32, uid: u32) -> Found {
        let dirs = [("/etc/munge", 0o700, 991), ("/etc", 0o755, 0), ("/", 0o755, 0)];
        Found {
            shown: "/etc/munge/munge.key".into(),
            is_hosts: true,
            what: What::File { size, attr: Attr { mode, uid, gid: uid }, zeros: false },
            dirs: dirs.map(|(d, mode, uid)| (d.into(), Attr { mode, uid, gid: 0 })).into(),
        }
    }

    fn told(found: &Found) -> String {
        match refuse(found, &faults(found, USERS), "watcher") {
            Ok(()) => "accepted".into(),
            Err(e) => format!("{e}\n=> {}", e.next_step().unwrap_or_default()),
        }
    }

    #[test]
    fn good_keys_are_accepted() {
        for (size, mode, uid) in
            [(32, 0o600, 991), (1024, 0o400, 0), (4096, 0o600, 101), (MOST, 0o400, 0)]
        {
            assert_eq!(told(&key(size, mode, uid)), "accepted", "{size} {mode:o} {uid}");
        }
        let mut sticky = key(32, 0o400, 0);
        sticky.dirs.push(("/tmp".into(), Attr { mode: 0o1777, uid: 0, gid: 0 }));
        assert_eq!(told(&sticky), "accepted");
    }

    #[test]
    fn every_fault_is_told_at_once_with_what_mends_it() {
        let mut bad = key(31, 0o644, 1000);
        bad.dirs[0].1 = Attr { mode: 0o770, uid: 1000, gid: 0 };
        insta::assert_snapshot!("every_fault", told(&bad));
        // As everything on a stick is: the copy is what helps.
        let mut stick = key(128, 0o755, 0);
        stick.is_hosts = false;
        stick.shown = "/media/stick/munge.key".into();
        insta::assert_snapshot!("on_a_stick", told(&stick));
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let mut found = key(4096, 0o400, 0);
        found.what =
            What::File { size: 4096, attr: Attr { mode: 0o400, uid: 0, gid: 0 }, zeros: true };
        insta::assert_snapshot!("public", told(&found));
        found.what = What::Link("../secret/key".into());
        insta::assert_snapshot!("link", told(&found));
        found.what = What::Absent;
        insta::assert_snapshot!("absent", told(&found));
        found.what = What::Other;
        insta::assert_snapshot!("other", told(&found));
        assert!(told(&key(MOST + 1, 0o400, 0)).contains("so it is no key"));
    }

    #[test]
    fn users_are_read_from_files() {
        let passwd = "root:x:0:0::/root:/bin/sh\n#munge:x:1:1\nmunge2:x:5:5::/:/\n\
                      munge:x:991:990::/nonexistent:/sbin/nologin\n";
        assert_eq!(uid_of("munge", passwd), Some(991));
        assert_eq!(uid_of("nobody", passwd), None);
        assert_eq!(uid_of("munge", "munge:x:many:0\nmunge\n"), None);
    }

    #[test]
    fn directories_are_those_that_links_lead_to_beneath_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("data/keys")).unwrap();
        fs::create_dir_all(at("etc")).unwrap();
        symlink("/data/keys", at("etc/munge")).unwrap();
        symlink("../etc/munge/../keys", at("data/again")).unwrap();
        symlink("circle", at("circle")).unwrap();
        fs::write(at("data/keys/munge.key"), [0; 64]).unwrap();
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(at("data"), open).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let look = |path: &str| Found::look(&root, Path::new(path)).unwrap();

        for path in ["/etc/munge/munge.key", "/data/again/munge.key", "/data/keys/munge.key"] {
            let found = look(path);
            let dirs: Vec<_> = found.dirs.iter().map(|(dir, _)| dir.clone()).collect();
            assert_eq!(dirs, [at("data/keys"), at("data"), at("")], "{path}");
            assert!(matches!(found.what, What::File { size: 64, zeros: true, .. }), "{found:?}");
            assert!(faults(&found, USERS).iter().any(|f| f.remedy.starts_with("chmod go-w ")));
        }
        assert!(look("/etc/munge/munge.key").is_hosts);
        let circle = Found::look(&root, Path::new("/circle/munge.key")).unwrap_err();
        assert!(circle.to_string().contains("/circle"), "{circle}");
        assert_eq!(look("/etc/munge").what, What::Link("/data/keys".into()));
        assert_eq!(look("/etc").what, What::Other);
    }
}
