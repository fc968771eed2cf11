//! Further bind mounts: what an administrator wants a container to see besides what its profile
//! says, as the answer `mounts`; and where in a container any mount may be.

use std::path::Path;

use super::{Decider, MUNGE_PLACES, Mount};
use crate::answers::Values;
use crate::error::{Error, Result};
use crate::profile::{Value, host_path};
use crate::root::Root;

/// The answer's key.
const KEY: &str = "mounts";

/// Places of an image without which nothing in it runs, or the engine cannot start it.
const IMAGE_PLACES: [&str; 18] = [
    "/bin",
    "/dev",
    "/etc",
    "/lib",
    "/lib64",
    "/opt",
    "/opt/ovis",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/sbin",
    "/var",
];

impl Decider<'_> {
    /// The mounts that were asked for, each fit for `--mount`.
    pub(super) fn further_mounts(&self, values: &Values) -> Result<Vec<Mount>> {
        words(values)
            .map(|word| {
                read(word).map_err(|why| {
                    self.error(format!("{KEY}: '{}': {why}", word.escape_debug())).remedy(format!(
                        "write --set '{}.{KEY}=SOURCE:TARGET[:ro|rw] …' with absolute paths",
                        self.service
                    ))
                })
            })
            .collect()
    }
}

/// Refuses further mounts whose source is not on this host: the container would not start. What
/// is prepared in another root may get it later.
pub fn check_sources(service: &str, values: &Values, root: &Root) -> Result<()> {
    check_each(service, values, &|path| !root.is_live() || root.path(path).exists())
}

fn check_each(service: &str, values: &Values, is_there: &dyn Fn(&Path) -> bool) -> Result<()> {
    let sources = words(values).filter_map(|word| Some(read(word).ok()?.source));
    for source in sources {
        if !is_there(Path::new(&source)) {
            return Err(Error::host(format!("{service} is to see {source}, which is not there"))
                .at(format!("service {service}"))
                .remedy(format!("make it, or leave it out of --set {service}.{KEY}=…")));
        }
    }
    Ok(())
}

fn words(values: &Values) -> impl Iterator<Item = &str> {
    let words = match values.get(KEY) {
        Some(Value::Words(words)) => words.as_slice(),
        _ => &[],
    };
    words.iter().map(String::as_str)
}

/// `SOURCE:TARGET`, `SOURCE:TARGET:ro` or `SOURCE:TARGET:rw`; as with `-v`, the container may
/// write unless told otherwise. The error is the reason.
fn read(word: &str) -> Result<Mount, String> {
    let parts: Vec<&str> = word.split(':').collect();
    let (source, target, read_only) = match parts[..] {
        [source, target] | [source, target, "rw"] => (source, target, false),
        [source, target, "ro"] => (source, target, true),
        [_, _, option] => {
            return Err(format!("'{}' is neither ro nor rw", option.escape_debug()));
        }
        _ => return Err("it is not SOURCE:TARGET, with :ro or :rw where wanted".into()),
    };
    host_path(source).map_err(|why| format!("the source: {why}"))?;
    host_path(target).map_err(|why| format!("the target: {why}"))?;
    check_target(target)?;
    if let Some(place) = MUNGE_PLACES.iter().find(|place| Path::new(source).starts_with(place)) {
        return Err(of_munge(place));
    }
    Ok(Mount { source: source.into(), target: target.into(), read_only })
}

/// Whether a mount other than munge's may be there in a container. The error is the reason.
pub(super) fn check_target(target: &str) -> Result<(), String> {
    let within = |path: &str, place: &str| Path::new(path).starts_with(place);
    if target == "/" {
        return Err("it would hide all of the image".into());
    }
    // One above would bring munge's directory along, or hide it.
    let concerned = |place: &&&str| within(target, place) || within(place, target);
    if let Some(place) = MUNGE_PLACES.iter().find(concerned) {
        return Err(of_munge(place));
    }
    match IMAGE_PLACES.iter().find(|place| within(place, target)) {
        None => Ok(()),
        Some(place) => Err(format!("it would hide {place} of the image")),
    }
}

fn of_munge(place: &str) -> String {
    format!("it concerns {place}: how munge reaches the container says the answer munge alone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_as_v_would() {
        let mount = |source: &str, target: &str, read_only| {
            Ok(Mount { source: source.into(), target: target.into(), read_only })
        };
        assert_eq!(read("/dev/shm/ram:/ram"), mount("/dev/shm/ram", "/ram", false));
        assert_eq!(read("/a b:/c:ro"), mount("/a b", "/c", true));
        assert_eq!(read("/a:/c:rw"), mount("/a", "/c", false));
        assert_eq!(read("/a:/opt/ovis/etc:ro"), mount("/a", "/opt/ovis/etc", true));
        assert_eq!(read("/a:/dev/shm"), mount("/a", "/dev/shm", false));
        assert_eq!(read("/a:/usrlocal"), mount("/a", "/usrlocal", false));
        for (word, why) in [
            ("/a", "SOURCE:TARGET"),
            ("", "SOURCE:TARGET"),
            ("/a:/b:ro:z", "SOURCE:TARGET"),
            ("/a:/b:z", "'z' is neither ro nor rw"),
            ("a:/b", "the source: it must be an absolute path"),
            ("/a:b", "the target: it must be an absolute path"),
            ("/a,b:/b", "comma"),
            ("/a:/b/../c", "neither . nor .."),
            ("/a:/", "all of the image"),
            ("/run/munge:/x", "answer munge alone"),
            ("/x:/run", "answer munge alone"),
            ("/etc:/etc:ro", "answer munge alone"),
            ("/k:/etc/munge/munge.key", "answer munge alone"),
            ("/x:/var/run/munge/a", "answer munge alone"),
            ("/x:/usr", "would hide /usr of the image"),
            ("/x:/opt/ovis", "would hide /opt/ovis of the image"),
            ("/x:/tmp:ro", "would hide /tmp of the image"),
        ] {
            let told = read(word).unwrap_err();
            assert!(told.contains(why), "{word}: {told}");
        }
    }

    #[test]
    fn a_source_must_be_there() {
        let words = vec!["/there:/a".to_owned(), "/gone:/b".to_owned()];
        let values = Values::from([(KEY.to_owned(), Value::Words(words))]);
        let error = check_each("agg", &values, &|path| path == Path::new("/there")).unwrap_err();
        assert!(error.to_string().contains("agg is to see /gone, which is not there"));
        assert!(error.next_step().unwrap().contains("--set agg.mounts"));
        check_each("agg", &values, &|_| true).unwrap();
    }
}
