//! A root against real directories, hostile ones too.
#![allow(clippy::disallowed_methods)] // What stands on the disk is set up and looked at directly.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{getegid, geteuid};
use tempfile::TempDir;

use super::{Attr, Look, Root};
use crate::digest::Digest;
use crate::error::Kind;

fn root() -> (TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

/// An attribute that whoever runs the tests can give.
fn mine(mode: u32) -> Attr {
    Attr { mode, uid: geteuid().as_raw(), gid: getegid().as_raw() }
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into()).collect();
    names.sort();
    names
}

#[test]
fn writing_twice_touches_nothing_the_second_time() {
    let (dir, root) = root();
    let path = Path::new("/etc/a");
    assert!(root.write(path, b"one", mine(0o640)).unwrap());
    let before = fs::metadata(dir.path().join("etc/a")).unwrap();
    let above = fs::metadata(dir.path().join("etc")).unwrap();
    assert!(!root.write(path, b"one", mine(0o640)).unwrap());
    let after = fs::metadata(dir.path().join("etc/a")).unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
    assert_eq!(above.mtime_nsec(), fs::metadata(dir.path().join("etc")).unwrap().mtime_nsec());
    assert_eq!(before.mode() & 0o7777, 0o640);

    assert!(root.write(path, b"one", mine(0o600)).unwrap(), "another mode is a change");
    assert!(root.write(path, b"two", mine(0o600)).unwrap(), "other bytes of the same length too");
    assert_eq!(root.read(path).unwrap().unwrap(), b"two");
    assert_eq!(names(&dir.path().join("etc")), [PathBuf::from("a")], "no temporary file stays");
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    let (dir, root) = root();
    // The whole process has it for a moment, which the other tests do not mind.
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    root.mkdir(Path::new("/etc/d"), mine(0o755)).unwrap();
    root.write(Path::new("/etc/d/f"), b"", mine(0o644)).unwrap();
    nix::sys::stat::umask(old);
    assert_eq!(fs::metadata(dir.path().join("etc/d")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(dir.path().join("etc/d/f")).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn absolute_links_stay_beneath_the_root() {
    let (dir, root) = root();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join(outside.path().strip_prefix("/").unwrap())).unwrap();
    symlink(outside.path(), dir.path().join("etc/ldms")).unwrap();
    root.write(Path::new("/etc/ldms/key"), b"k", mine(0o600)).unwrap();
    assert!(names(outside.path()).is_empty(), "nothing is written outside");
    let inside = dir.path().join(outside.path().strip_prefix("/").unwrap()).join("key");
    assert_eq!(fs::read(inside).unwrap(), b"k");
}

#[test]
fn dots_cannot_climb_out() {
    let (dir, root) = root();
    for path in ["/etc/../a", "/../a", "a", "etc/a", "../a", "/"] {
        assert_eq!(root.write(Path::new(path), b"", mine(0o600)).unwrap_err().kind(), Kind::Usage);
        assert!(path == "/" || root.read(Path::new(path)).is_err(), "{path}");
    }
    // In a link they are the file system's business, and end at the root.
    symlink("../../../../../../..", dir.path().join("etc/up")).unwrap();
    root.write(Path::new("/etc/up/a"), b"here", mine(0o600)).unwrap();
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"here");
}

#[test]
fn a_link_in_the_last_place_is_replaced_and_never_followed() {
    let (dir, root) = root();
    fs::write(dir.path().join("etc/precious"), "old").unwrap();
    symlink("precious", dir.path().join("etc/conf")).unwrap();
    assert!(matches!(root.look(Path::new("/etc/conf")).unwrap(),
        Look::Link { target, to_directory: false } if target == Path::new("precious")));
    assert!(root.write(Path::new("/etc/conf"), b"new", mine(0o644)).unwrap());
    assert_eq!(fs::read(dir.path().join("etc/precious")).unwrap(), b"old");
    assert!(fs::symlink_metadata(dir.path().join("etc/conf")).unwrap().is_file());

    symlink("precious", dir.path().join("etc/conf2")).unwrap();
    assert!(root.remove_file(Path::new("/etc/conf2")).unwrap());
    assert!(dir.path().join("etc/precious").exists());
    assert!(!root.remove_file(Path::new("/etc/conf2")).unwrap());

    symlink("precious", dir.path().join("etc/log")).unwrap();
    assert!(root.append(Path::new("/etc/log")).is_err(), "nor is it appended to");
}

#[test]
fn a_planted_temporary_name_is_no_way_in() {
    let (dir, root) = root();
    fs::write(dir.path().join("etc/precious"), "old").unwrap();
    symlink("precious", dir.path().join("etc/.conf.ldms-tmp")).unwrap();
    root.write(Path::new("/etc/conf"), b"new", mine(0o644)).unwrap();
    assert_eq!(fs::read(dir.path().join("etc/precious")).unwrap(), b"old");
    assert_eq!(fs::read(dir.path().join("etc/conf")).unwrap(), b"new");
    fs::write(dir.path().join("etc/.conf.ldms-tmp"), "half").unwrap();
    root.sweep(Path::new("/etc/conf")).unwrap();
    assert_eq!(names(&dir.path().join("etc")), ["conf", "precious"].map(PathBuf::from));
}

#[test]
fn loops_and_directories_in_the_way_are_errors() {
    let (dir, root) = root();
    symlink("loop", dir.path().join("etc/loop")).unwrap();
    assert!(root.read(Path::new("/etc/loop/a")).is_err());
    fs::create_dir(dir.path().join("etc/dir")).unwrap();
    let error = root.write(Path::new("/etc/dir"), b"", mine(0o644)).unwrap_err();
    assert_eq!(error.place().unwrap(), dir.path().join("etc/dir").display().to_string());
    assert_eq!(names(&dir.path().join("etc")), ["dir", "loop"].map(PathBuf::from));
    assert!(root.write(Path::new("/var/none/a"), b"", mine(0o644)).is_err());
    assert_eq!(root.read(Path::new("/var/none/a")).unwrap(), None);
    assert_eq!(root.read(Path::new("/etc/missing")).unwrap(), None);
}

#[test]
fn a_pipe_does_not_hang_us() {
    let (dir, root) = root();
    nix::unistd::mkfifo(&dir.path().join("etc/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(root.read(Path::new("/etc/pipe")).is_err());
    assert_eq!(root.look(Path::new("/etc/pipe")).unwrap(), Look::Other);
}

#[test]
fn directories_are_made_once_and_removed_only_when_empty() {
    let (dir, root) = root();
    let path = Path::new("/etc/ldms");
    assert!(root.mkdir(path, mine(0o750)).unwrap());
    assert!(!root.mkdir(path, mine(0o700)).unwrap());
    assert_eq!(root.look(path).unwrap(), Look::Directory { attr: mine(0o750) });
    symlink("ldms", dir.path().join("etc/link")).unwrap();
    assert!(!root.mkdir(Path::new("/etc/link"), mine(0o700)).unwrap(), "a link to one will do");
    fs::write(dir.path().join("etc/ldms/f"), "").unwrap();
    assert!(!root.remove_dir(path).unwrap());
    assert!(root.remove_file(Path::new("/etc/ldms/f")).unwrap());
    assert!(root.remove_dir(path).unwrap());
    assert!(!root.remove_dir(path).unwrap());
}

#[test]
fn a_tree_goes_without_what_its_links_point_to() {
    let (dir, root) = root();
    let tree = dir.path().join("etc/tree");
    fs::create_dir_all(tree.join("a/b/c")).unwrap();
    fs::write(tree.join("a/b/f"), "").unwrap();
    fs::create_dir(dir.path().join("etc/precious")).unwrap();
    fs::write(dir.path().join("etc/precious/f"), "").unwrap();
    symlink("../precious", tree.join("link")).unwrap();
    assert!(root.remove_tree(Path::new("/etc/tree")).unwrap());
    assert!(!root.remove_tree(Path::new("/etc/tree")).unwrap());
    assert!(dir.path().join("etc/precious/f").exists());
    assert!(root.remove_tree(Path::new("/etc/precious/f")).unwrap(), "a file is a small tree");
}

#[test]
fn links_are_made_whole() {
    let (dir, root) = root();
    let (path, target) = (Path::new("/etc/l"), Path::new("/etc/systemd/system/x.service"));
    assert!(root.symlink(path, target).unwrap());
    assert!(!root.symlink(path, target).unwrap());
    assert!(root.symlink(path, Path::new("other")).unwrap());
    assert_eq!(fs::read_link(dir.path().join("etc/l")).unwrap(), Path::new("other"));
    fs::write(dir.path().join("etc/f"), "").unwrap();
    assert!(root.symlink(Path::new("/etc/f"), target).unwrap());
    assert_eq!(root.list(Path::new("/etc")).unwrap(), ["f", "l"]);
    assert!(root.list(Path::new("/none")).unwrap().is_empty());
}

#[test]
fn looking_tells_content_and_attributes() {
    let (_dir, root) = root();
    let path = Path::new("/etc/a");
    assert_eq!(root.look(path).unwrap(), Look::Absent);
    assert_eq!(root.look(Path::new("/no/where")).unwrap(), Look::Absent);
    root.write(path, b"bytes", mine(0o600)).unwrap();
    let look = Look::File { digest: Digest::of(b"bytes"), size: 5, attr: mine(0o600) };
    assert_eq!(root.look(path).unwrap(), look);
    root.sync_file_system(Path::new("/etc")).unwrap();
}

#[test]
fn owners_are_given_or_it_is_an_error() {
    let (dir, root) = root();
    let key = Attr { mode: 0o600, uid: 101, gid: 101 };
    let result = root.write(Path::new("/etc/key"), b"secret", key);
    if geteuid().is_root() {
        assert!(result.unwrap());
        let there = fs::metadata(dir.path().join("etc/key")).unwrap();
        assert_eq!((there.uid(), there.gid(), there.mode() & 0o7777), (101, 101, 0o600));
    } else {
        assert_eq!(result.unwrap_err().next_step(), Some("run it as root"));
        assert!(names(&dir.path().join("etc")).is_empty(), "nothing half made stays");
    }
}

#[test]
fn a_second_run_is_told_who_has_the_lock() {
    let (dir, root) = root();
    // The kernel's list is by process: the other run is a real one.
    let mut other = Command::new("flock")
        .args(["--exclusive", "--no-fork"])
        .arg(dir.path().join("etc"))
        .args(["sleep", "60"])
        .spawn()
        .unwrap();
    let error = loop {
        match root.lock(Path::new("/etc")) {
            Err(error) => break error,
            Ok(lock) => drop(lock),
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(error.to_string().contains(&format!("(process {})", other.id())), "{error}");
    let held = root.lock(Path::new("/etc")).unwrap();
    assert!(root.lock(Path::new("/etc")).is_err());
    drop(held);
    root.lock(Path::new("/etc")).unwrap();
    assert_eq!(root.lock(Path::new("/var/lib")).unwrap_err().kind(), Kind::Host);
}

#[test]
fn a_directory_without_write_permission_says_so() {
    if geteuid().is_root() {
        return; // Root may write anywhere: this is for those who run the tests as themselves.
    }
    let (dir, root) = root();
    let etc = dir.path().join("etc");
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o555)).unwrap();
    let error = root.write(Path::new("/etc/a"), b"", mine(0o644)).unwrap_err();
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!((error.kind(), error.next_step()), (Kind::Host, Some("run it as root")));
}

#[test]
fn the_running_host_is_known_however_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["/", "/usr/..", "//usr/../."] {
        let root = Root::open(Path::new(path)).unwrap();
        assert!(root.is_live() && root.dir() == Path::new("/"), "{path}");
    }
    assert!(!Root::open(dir.path()).unwrap().is_live());
}
