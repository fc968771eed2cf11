//! Keys in both directions with stock minisign, and passwords on a real terminal.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rexpect::session::{PtySession, spawn_command};

use crate::kit::*;

const SAMP: &str = "--from {bed}/images --only ovishpc/ldms-samp --output {dir}/m \
                    --installer {bed}/installer --level 1";

#[track_caller]
fn type_at(terminal: &mut PtySession, prompt: &str, keys: &str) {
    terminal.exp_string(prompt).unwrap();
    terminal.send_line(keys).unwrap();
}

fn on_terminal(command: Command) -> PtySession {
    spawn_command(command, Some(60_000)).unwrap()
}

/// Stock minisign accepts everything on a medium with this key.
#[track_caller]
fn stock_accepts(medium: &Path, key: &Path) {
    need(&["minisign"]);
    let look = temp();
    let (bundle, key) = (bundle(medium), key.display());
    bash(
        medium,
        &format!("minisign -Vm MEDIUM.sha256 -p {key} && sha256sum --strict -c MEDIUM.sha256"),
    )
    .fine();
    let script = format!(
        "tar xf {} && minisign -Vm SHA256SUMS -p {key} && sha256sum --strict -c SHA256SUMS",
        bundle.display()
    );
    assert!(bash(look.path(), &script).fine().contains("Trusted comment: "));
    // And nothing but these: one letter more is no longer what was signed.
    bash(look.path(), "echo >>SHA256SUMS").fine();
    assert_ne!(bash(look.path(), &format!("minisign -Vm SHA256SUMS -p {key}")).code, 0);
}

#[test]
fn ours_sign_for_stock_minisign() {
    stock_accepts(good(), &bed().join("ldms.pub"));
    // The secret key is also theirs: they sign, and we take it.
    let temp = temp();
    let dir = temp.path();
    fs::copy(bed().join("ldms.key"), dir.join("k")).unwrap();
    bash(dir, "echo hello >x && minisign -W -S -s k -m x </dev/null").fine();
    let verify = format!("minisign -Vm x -p {}/ldms.pub", bed().display());
    bash(dir, &verify).fine();
}

#[test]
fn stock_keys_sign_our_bundles() {
    need(&["minisign"]);
    let temp = temp();
    let dir = temp.path();
    bash(dir, "minisign -G -W -p stock.pub -s stock.key").fine();
    run(&mut pack(dir, &format!("build {SAMP} --key {{dir}}/stock.key"))).fine();
    stock_accepts(&dir.join("m"), &dir.join("stock.pub"));
    let bundle = bundle(&dir.join("m"));
    let verify = format!("verify {} --pubkey {{dir}}/stock.pub", bundle.display());
    run(&mut pack(dir, &verify)).fine();
    let other = format!("verify {} --pubkey {{bed}}/ldms.pub", bundle.display());
    insta::assert_snapshot!("other-key", {
        let told = run(&mut pack(dir, &other)).complaint(3, dir);
        let id = |key: &str| {
            let text = fs::read_to_string(key).unwrap();
            // minisign leaves out leading zeros.
            format!("{:0>16}", text.lines().next().unwrap().rsplit(' ').next().unwrap())
        };
        told.replace(&id(dir.join("stock.pub").to_str().unwrap()), "STOCK")
            .replace(&id(bed().join("ldms.pub").to_str().unwrap()), "OURS")
    });
}

#[test]
fn stock_keys_with_passwords_sign_too() {
    need(&["minisign"]);
    let temp = temp();
    let dir = temp.path();
    let mut generate = Command::new("minisign");
    generate.args(["-G", "-p", "stock.pub", "-s", "stock.key"]).current_dir(dir);
    let mut terminal = on_terminal(generate);
    type_at(&mut terminal, "Password: ", "open sesame");
    type_at(&mut terminal, "Password (one more time): ", "open sesame");
    terminal.exp_eof().unwrap();

    // Wrong, then right; in the clear neither time.
    let build = format!("build {SAMP} --key {{dir}}/stock.key");
    let mut terminal = on_terminal(pack(dir, &build));
    type_at(&mut terminal, "Password of ", "wrong word");
    let rest = terminal.exp_eof().unwrap();
    assert!(rest.contains("the password does not open this key"), "{rest}");
    assert!(!rest.contains("wrong word"), "{rest}");
    nothing_left(dir);
    let mut terminal = on_terminal(pack(dir, &build));
    type_at(&mut terminal, "Password of ", "open sesame");
    let rest = terminal.exp_eof().unwrap();
    assert!(rest.contains("Tell every site"), "{rest}");
    assert!(!rest.contains("sesame"), "{rest}");
    stock_accepts(&dir.join("m"), &dir.join("stock.pub"));
}

#[test]
fn a_new_key() {
    let temp = temp();
    let dir = temp.path();
    let told = run(&mut pack(dir, "keygen --no-password --out {dir}/new/keys")).fine();
    let (secret, public) = (dir.join("new/keys/ldms.key"), dir.join("new/keys/ldms.pub"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&secret), mode(&public)), (0o600, 0o644));
    let print = bash(&dir.join("new/keys"), "tail -n1 ldms.pub | base64 -d | sha256sum").fine();
    let told = tidy(&told, dir);
    let (_, rest) = told.split_once("fingerprint").unwrap();
    let (digits, _) = rest.split_once("\n\n").unwrap();
    let digits: String = digits.split_whitespace().collect();
    assert_eq!(print.split(' ').next().unwrap(), digits);
    assert!(told.lines().all(|line| line.len() <= 80), "{told}");

    // Never a second time over the first.
    let before = fs::read(&secret).unwrap();
    let again = run(&mut pack(dir, "keygen --no-password --out {dir}/new/keys"));
    insta::assert_snapshot!("keygen-again", again.complaint(2, dir));
    assert_eq!(before, fs::read(&secret).unwrap());
    fs::remove_file(&secret).unwrap();
    let again = run(&mut pack(dir, "keygen --no-password --out {dir}/new/keys"));
    insta::assert_snapshot!("keygen-public", again.complaint(2, dir));
    assert!(!secret.exists());
}

#[test]
fn passwords_from_files() {
    let temp = temp();
    let dir = temp.path();
    fs::write(dir.join("word"), "open sesame\nanything\n").unwrap();
    fs::write(dir.join("wrong"), "open sesam\n").unwrap();
    fs::write(dir.join("empty"), "\n").unwrap();
    run(&mut pack(dir, "keygen --out {dir} --password-file {dir}/word")).fine();
    let build =
        |word: &str| run(&mut pack(dir, &format!("build {SAMP} --key {{dir}}/ldms.key {word}")));
    let wrong = build("--password-file {dir}/wrong").complaint(2, dir);
    insta::assert_snapshot!("password-wrong", wrong);
    insta::assert_snapshot!("password-none", build("").complaint(2, dir));
    let empty = build("--password-file {dir}/empty").complaint(2, dir);
    insta::assert_snapshot!("password-empty", empty);
    let absent = build("--password-file {dir}/absent").complaint(1, dir);
    insta::assert_snapshot!("password-absent", absent);
    nothing_left(dir);
    build("--password-file {dir}/word").fine();
    stock_accepts(&dir.join("m"), &dir.join("ldms.pub"));
}

#[test]
fn passwords_on_a_terminal() {
    let temp = temp();
    let dir = temp.path();
    let mut terminal = on_terminal(pack(dir, "keygen --out {dir}"));
    type_at(&mut terminal, "Password for the secret key", "open sesame");
    type_at(&mut terminal, "Once more", "open sesam");
    // A slip of the finger is asked for again.
    type_at(&mut terminal, "They differ", "open sesame");
    type_at(&mut terminal, "Once more", "open sesame");
    let rest = terminal.exp_eof().unwrap();
    assert!(rest.contains("fingerprint") && !rest.contains("sesam"), "{rest}");

    // It is encrypted indeed, also in the eyes of stock minisign.
    need(&["minisign"]);
    fs::write(dir.join("x"), "x").unwrap();
    let mut sign = Command::new("minisign");
    sign.args(["-S", "-s", "ldms.key", "-m", "x"]).current_dir(dir);
    let mut terminal = on_terminal(sign);
    type_at(&mut terminal, "Password: ", "open sesame");
    terminal.exp_eof().unwrap();
    bash(dir, "minisign -Vm x -p ldms.pub").fine();

    // Ctrl-C at the prompt ends it without a trace.
    let mut terminal = on_terminal(pack(dir, "keygen --out {dir}/other"));
    terminal.exp_string("Password for the secret key").unwrap();
    terminal.send_control('c').unwrap();
    terminal.exp_eof().unwrap();
    assert!(!dir.join("other").exists());
}
