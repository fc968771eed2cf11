//! A `docker run` or `podman run` as what it means, so that two can be compared flag by flag.

use std::collections::BTreeSet;

/// What a command asks for, one thing a text: `network host`, `mount /a -> /b ro`, `args -x …`.
pub type Facts = BTreeSet<String>;

/// Reads the words after `run`.
pub fn facts(words: &[String]) -> Facts {
    let mut facts = Facts::new();
    let mut words = words.iter();
    let image = loop {
        let word = words.next().expect("a command names an image").as_str();
        if !word.starts_with('-') {
            break word;
        }
        if ["-d", "--privileged", "--init"].contains(&word) {
            facts.insert(word.trim_start_matches('-').to_owned());
            continue;
        }
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, value.to_owned()),
            None => (word, words.next().expect("this flag has a value").clone()),
        };
        facts.insert(match flag {
            "--name" | "--network" | "--pid" | "--stop-timeout" | "--ulimit" => {
                format!("{} {value}", flag.trim_start_matches('-'))
            }
            "-e" | "--env" => format!("env {value}"),
            "-v" => volume(&value),
            "--mount" => mount(&value),
            _ => panic!("the comparison does not know {flag}"),
        });
    };
    facts.insert(format!("image {}", repository(image)));
    let args: Vec<&str> = words.map(String::as_str).collect();
    if !args.is_empty() {
        facts.insert(format!("args {}", args.join(" ")));
    }
    facts
}

/// `-v SOURCE:TARGET[:ro|rw]`
fn volume(value: &str) -> String {
    match value.split(':').collect::<Vec<_>>()[..] {
        [source, target] | [source, target, "rw"] => format!("mount {source} -> {target} rw"),
        [source, target, "ro"] => format!("mount {source} -> {target} ro"),
        _ => panic!("-v {value}"),
    }
}

/// `--mount type=bind,source=SOURCE,target=TARGET[,readonly]`
fn mount(value: &str) -> String {
    let (mut source, mut target, mut mode) = (None, None, "rw");
    for part in value.split(',') {
        match part.split_once('=') {
            Some(("type", "bind")) => {}
            Some(("source", path)) => source = Some(path),
            Some(("target", path)) => target = Some(path),
            None if part == "readonly" => mode = "ro",
            _ => panic!("--mount {value}"),
        }
    }
    format!("mount {} -> {} {mode}", source.unwrap(), target.unwrap())
}

/// The image without registry and tag.
fn repository(image: &str) -> &str {
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    image.split_once(':').map_or(image, |(repository, _)| repository)
}

/// The words of a documented command after `docker run`: comments go, `[ option ]` stays where it
/// holds one of the `chosen`, and placeholders become what `given` says. Panics where a choice or
/// a replacement finds nothing, so that none can go stale.
pub fn documented(text: &str, chosen: &[&str], given: &[(&str, &str)]) -> Vec<String> {
    let mut used = BTreeSet::<&str>::new();
    let mut command = String::new();
    for line in text.lines() {
        let line = line.split_once(" #").map_or(line, |(line, _)| line).trim();
        let line = line.trim_end_matches('\\').trim();
        match line.strip_prefix("[ ").and_then(|line| line.strip_suffix(" ]")) {
            None => command += line,
            Some(option) => {
                let choice = chosen.iter().find(|choice| option.contains(**choice));
                used.extend(choice.copied());
                command += choice.map_or("", |_| option);
            }
        }
        command += " ";
    }
    assert_eq!(used.len(), chosen.len(), "{chosen:?} in {text}");
    for (placeholder, value) in given {
        assert!(command.contains(placeholder), "{placeholder} in {command}");
        command = command.replace(placeholder, value);
    }
    assert!(!command.contains(['<', '[', '$']), "a placeholder is left in {command}");
    let words = shell_words::split(&command).unwrap();
    assert_eq!(words[..2], ["docker", "run"], "{command}");
    words[2..].to_vec()
}
