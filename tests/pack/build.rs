//! What `build` is told and what it tells: options, names, the summary, full and forbidden disks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::kit::*;

const SAMP: &str = "--from {bed}/images --only ovishpc/ldms-samp";

#[test]
fn the_summary() {
    let temp = temp();
    let dir = temp.path();
    let text = build(dir, "--from {bed}/images").fine();
    for line in text.lines() {
        assert!(line.replace(&dir.display().to_string(), "").len() <= 80, "{line}");
    }
    // Words and their order; what is measured, the installer and the key are each time others.
    let key = fs::read_to_string(bed().join("ldms.pub")).unwrap();
    assert!(text.contains(key.lines().next().unwrap().rsplit(' ').next().unwrap()), "{text}");
    let installer = bash(dir, "sha256sum m/ldms-install").fine();
    assert!(text.contains(installer.split(' ').next().unwrap()), "{text}");
    // The fingerprint is what README.txt says how to compute.
    let print = bash(bed(), "tail -n1 ldms.pub | base64 -d | sha256sum").fine();
    let digits: String = text.rsplit("fingerprint").next().unwrap().split_whitespace().collect();
    assert_eq!(print.split(' ').next().unwrap(), digits);
    let (head, _) = text.split_once("Tell every site").unwrap();
    let head: String = head
        .lines()
        .map(
            |line| {
                if line.contains("packed and") { line.rsplit_once(' ').unwrap().0 } else { line }
            },
        )
        .flat_map(|line| [line, "\n"])
        .collect();
    insta::assert_snapshot!("summary", tidy(&head, dir));
}

#[test]
fn progress_in_a_log_is_plain_lines() {
    let temp = temp();
    let ran = build(temp.path(), "--from {bed}/images");
    assert_eq!(ran.code, 0);
    let tasks: Vec<&str> = ran.err.lines().map(|line| line.split(": ").next().unwrap()).collect();
    for task in ["ldms-ui.tar", "ovishpc/ldms-ui", "compress", "rebuild"] {
        assert_eq!(tasks.iter().filter(|t| **t == task).count(), 1, "{task} in {}", ran.err);
    }
    assert!(!ran.err.contains(['\u{1b}', '\r']));
}

#[test]
fn progress_on_a_terminal_fits_it() {
    let temp = temp();
    let dir = temp.path();
    let line = format!("build --from {{bed}}/images {TO}");
    let command = pack(dir, &line);
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_str().unwrap().to_owned())
        .collect();
    let script = format!("stty cols 80 rows 100; {}", shell_words::join(words));
    let mut script_command = Command::new("script");
    let ran = run(script_command.args(["-qec", &script, "/dev/null"]).env("TERM", "xterm"));
    assert_eq!(ran.code, 0, "{}", ran.out);
    let screen = screen(&ran.out);
    let mut tasks = Vec::new();
    for line in screen.iter().take_while(|line| !line.starts_with("ldms-4.4.4-1 for ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Task, bar, so many of so many with their units, the rate, the time left.
        assert_eq!(words.len(), 10, "{line:?} in {screen:#?}");
        assert_eq!((words[4], words[9]), ("of", "0s"), "{line:?}");
        assert!(words[8].ends_with("B/s"), "{line:?}");
        tasks.push(words[0]);
    }
    // Each task has one line, the one that it ended with.
    let archives = NAMES.map(|name| format!("ldms-{name}.tar"));
    let images = NAMES.map(|name| format!("ovishpc/ldms-{name}"));
    let last = ["compress", "rebuild", "digest"].map(str::to_owned);
    assert_eq!(tasks, [&archives[..], &images[..], &last[..]].concat());
}

/// The lines that a terminal of 80 columns and very many rows shows in the end.
fn screen(output: &str) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0, 0);
    let mut input = output.chars().peekable();
    while let Some(c) = input.next() {
        match c {
            '\r' => column = 0,
            '\n' => (row, column) = (row + 1, 0),
            '\u{1b}' => {
                assert_eq!(input.next(), Some('['));
                let mut number = String::new();
                while let Some(digit) = input.next_if(char::is_ascii_digit) {
                    number.push(digit);
                }
                let n = number.parse().unwrap_or(1);
                match input.next() {
                    Some('A') => row -= n,
                    Some('B') => row += n,
                    Some('K') => lines[row].clear(),
                    // Colours.
                    Some('m') => {}
                    other => panic!("an unknown sequence: {number} {other:?}"),
                }
            }
            c => {
                if column == 80 {
                    (row, column) = (row + 1, 0);
                }
                lines.resize(lines.len().max(row + 1), Vec::new());
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect()
}

#[test]
fn names_versions_releases() {
    let temp = temp();
    let dir = temp.path();
    build(dir, &format!("{SAMP} --name site --version 7.1 --release 12")).fine();
    assert!(files(&dir.join("m")).contains(&"site-7.1-12.ldms".to_owned()));
    let manifest = member(&dir.join("m/site-7.1-12.ldms"), "manifest.toml");
    let manifest: toml::Table = manifest.parse().unwrap();
    assert_eq!(manifest["name"].as_str(), Some("site"));
    assert_eq!(manifest["version"].as_str(), Some("7.1"));
    assert_eq!(manifest["release"].as_integer(), Some(12));
    assert_eq!(manifest["image"].as_array().unwrap().len(), 1);
    let image = &manifest["image"][0];
    assert_eq!(image["munge"]["uid"].as_integer(), Some(101));
    assert_eq!(image["munge"]["gid"].as_integer(), Some(101));
    let archive = bash(&bed().join("images"), "sha256sum ldms-samp.tar").fine();
    let archive = format!("sha256:{}", archive.split(' ').next().unwrap());
    assert_eq!(image["origin"]["archive"].as_str(), Some(&*archive));
    assert_eq!(image["origin"]["source"].as_str(), Some("ldms-samp.tar"));

    // By default the images' common tag; the last part of a name is enough where it is clear.
    build(dir, "--from {bed}/images --only ldms-samp,ldms-agg").fine();
    let bundle = dir.join("m/ldms-4.4.4-1.ldms");
    let sums = member(&bundle, "SHA256SUMS");
    assert!(sums.contains("images/ovishpc/ldms-samp/"), "{sums}");
    assert!(sums.contains("images/ovishpc/ldms-agg/"), "{sums}");
    assert!(!sums.contains("images/ovishpc/ldms-ui/"), "{sums}");
}

#[test]
fn mistakes_are_told_before_the_work() {
    let temp = temp();
    let dir = temp.path();
    put(&dir.join("text"), b"no program");
    fs::copy("/bin/ls", dir.join("ls")).unwrap();
    let mut told = String::new();
    for line in [
        "--only nosuch",
        "--name ../x",
        "--version a/b",
        "--version",
        "--release 0",
        "--release 9223372036854775808",
        "--platform linux",
        "--output {bed}/ldms.pub",
        "--output /proc/none/m",
        "--key {bed}/ldms.pub",
        "--key {bed}/none.key",
        "--installer {dir}/ls",
        "--installer {dir}/text",
        "--installer {dir}/none",
        "--scratch {dir}/none",
        "--from {dir}/none",
        "--pull",
        "--level 23",
    ] {
        // What is given twice is a usage error of its own: these replace the usual.
        let option = line.split(' ').next().unwrap();
        let mut usual = String::new();
        let all = format!("--from {{bed}}/images/ldms-samp.tar --only ovishpc/ldms-samp {TO}");
        let mut words = all.split(' ').peekable();
        while let Some(word) = words.next() {
            let value = words.next().unwrap();
            if word != option {
                usual += &[" ", word, " ", value].concat();
            }
        }
        let ran = run(&mut pack(dir, &format!("build {usual} {line}")));
        assert_ne!(ran.code, 0, "{line}");
        assert_eq!(ran.out, "");
        // No layer was read: these cost no time.
        assert!(!ran.err.contains("ovishpc/ldms-samp: "), "{line}: {}", ran.err);
        told += &transcript(line, &ran, dir);
        assert!(files(&dir.join("m")).is_empty(), "{line}: {:?}", files(&dir.join("m")));
    }
    insta::assert_snapshot!("mistakes", told);
}

#[test]
fn an_existing_bundle_is_kept() {
    let temp = temp();
    let dir = temp.path();
    fs::create_dir(dir.join("m")).unwrap();
    fs::write(dir.join("m/ldms-4.4.4-1.ldms"), "precious").unwrap();
    let ran = build(dir, SAMP);
    insta::assert_snapshot!("exists", ran.complaint(1, dir));
    assert!(!ran.err.contains("ovishpc/ldms-samp: "), "told before the work: {}", ran.err);
    assert_eq!(files(&dir.join("m")), ["ldms-4.4.4-1.ldms"]);
    assert_eq!(fs::read_to_string(dir.join("m/ldms-4.4.4-1.ldms")).unwrap(), "precious");
    // The next release lies beside it.
    build(dir, &format!("{SAMP} --release 2")).fine();
    assert!(files(&dir.join("m")).contains(&"ldms-4.4.4-2.ldms".to_owned()));
}

/// The keys of JSON and the kinds of its values.
fn shape(value: &serde_json::Value, name: &str, out: &mut String) {
    use serde_json::Value;
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(all) => {
            return all.first().map_or((), |v| shape(v, &format!("{name}[]"), out));
        }
        Value::Object(all) => {
            return all.iter().for_each(|(key, v)| shape(v, &format!("{name}.{key}"), out));
        }
    };
    *out += &[name, ": ", kind, "\n"].concat();
}

#[test]
fn json() {
    let temp = temp();
    let ran = build(temp.path(), "--from {bed}/images --json");
    assert_eq!(ran.err, "");
    let value: serde_json::Value = serde_json::from_str(&ran.fine()).unwrap();
    let mut text = String::new();
    shape(&value, "", &mut text);
    insta::assert_snapshot!("json", text);
    let size = fs::metadata(bundle(&temp.path().join("m"))).unwrap().len();
    assert_eq!(value["bytes"], size);
    assert!(value["distinct"].as_u64() < value["layers_bytes"].as_u64());
    assert!(value["layers_bytes"].as_u64() < value["images_bytes"].as_u64());
}

/// Runs `line` where `mount` is a file system of `kib` KiB of its own.
fn small(dir: &Path, mount: &str, kib: u32, line: &str) -> Ran {
    let mount = mount.replace("{dir}", &dir.display().to_string());
    fs::create_dir_all(&mount).unwrap();
    let command = pack(dir, line);
    let mut unshare = Command::new("unshare");
    // The mount is gone with the namespace. What is left is told behind the program's code.
    unshare.args(if root() { "-m" } else { "-rm" }.split(' ')).args(["bash", "-c"]).arg(format!(
        "mount -t tmpfs -o size={kib}k none {mount} || exit 99
         \"$@\"; code=$?; ls -A {mount} | sed 's/^/left: /' >&2; exit $code"
    ));
    unshare.arg("bash").arg(command.get_program()).args(command.get_args());
    run(unshare.env("LC_ALL", "C.UTF-8"))
}

#[test]
fn a_full_medium() {
    let temp = temp();
    let dir = temp.path();
    // Full in the bundle; and full behind it, when the installer is to be written.
    let bundle = fs::metadata(bundle(good())).unwrap().len() / 1024;
    for (name, kib) in [("full", 1000), ("full-installer", bundle as u32 + 100)] {
        let ran = small(dir, "{dir}/m", kib, &format!("build --from {{bed}}/images {TO}"));
        let told = ran.complaint(1, dir);
        assert!(!told.contains("left: "), "{told}");
        insta::assert_snapshot!(name, told);
    }
}

#[test]
fn a_full_scratch_directory() {
    let temp = temp();
    let dir = temp.path();
    // Layers without files of which anything is known are all literal, and the scratch has them.
    let layer = Tree::default().file("a", b"a").end();
    let layers: Vec<Vec<u8>> = (0..40u64)
        .map(|n| {
            (0..400).fold(layer.clone(), |mut all, m| {
                all.extend(Tree::default().file("x", &noise(n * 1000 + m, 100)).end());
                all
            })
        })
        .collect();
    docker_archive(&dir.join("i/samp.tar"), &Image::new("samp", "amd64", layers));
    let line = format!("build --from {{dir}}/i --only ovishpc/ldms-samp --scratch {{dir}}/s {TO}");
    let ran = small(dir, "{dir}/s", 64, &line);
    let told = ran.complaint(4, dir);
    assert!(!told.contains("left: "), "{told}");
    insta::assert_snapshot!("full-scratch", told);
    // An archive that must be unpacked first is looked at before the disk is full.
    fs::create_dir(dir.join("z")).unwrap();
    bash(dir, "zstd -q i/samp.tar -o z/samp.tar.zst").fine();
    let line = format!("build --from {{dir}}/z --only ovishpc/ldms-samp --scratch {{dir}}/s {TO}");
    insta::assert_snapshot!("full-unpacking", small(dir, "{dir}/s", 64, &line).complaint(4, dir));
    nothing_left(dir);
}

#[test]
fn what_may_not_be_read_or_written() {
    let temp = temp();
    let dir = temp.path();
    open_to_all(dir);
    let mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    fs::create_dir_all(dir.join("i")).unwrap();
    fs::copy(bed().join("images/ldms-samp.tar"), dir.join("i/ldms-samp.tar")).unwrap();
    for name in ["ldms.key", "installer"] {
        fs::copy(bed().join(name), dir.join(name)).unwrap();
        mode(&dir.join(name), 0o644);
    }
    fs::copy(PROGRAM, dir.join("ldms-pack")).unwrap();
    fs::create_dir(dir.join("m")).unwrap();
    // Root may read and write everything: become somebody else.
    let nobody = |line: &str| {
        let command = pack(dir, line);
        let program = dir.join("ldms-pack");
        if root() {
            let mut other = Command::new("setpriv");
            other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
            run(other.args(command.get_args()).env("LC_ALL", "C.UTF-8"))
        } else {
            run(Command::new(program).args(command.get_args()).env("LC_ALL", "C.UTF-8"))
        }
    };
    let line = "build --only ovishpc/ldms-samp --from {dir}/i \
                --key {dir}/ldms.key --output {dir}/m --installer {dir}/installer";
    mode(&dir.join("m"), 0o555);
    insta::assert_snapshot!("forbidden-medium", nobody(line).complaint(1, dir));
    mode(&dir.join("m"), 0o777);
    mode(&dir.join("i/ldms-samp.tar"), 0);
    insta::assert_snapshot!("forbidden-archive", nobody(line).complaint(1, dir));
    mode(&dir.join("i"), 0);
    insta::assert_snapshot!("forbidden-folder", nobody(line).complaint(1, dir));
    mode(&dir.join("i"), 0o755);
    nothing_left(dir);
    let locked = nobody("keygen --no-password --out {dir}/i/keys");
    if root() {
        insta::assert_snapshot!("forbidden-keys", locked.complaint(1, dir));
    }
}
