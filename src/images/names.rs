//! Names: of images as engines and archives spell them, of members of an archive.

use std::fmt;

/// A name by which an archive, a layout or an engine knows an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    /// All before the tag: `registry.site.example:5000/mirror/ovishpc/ldms-samp`.
    repository: String,
    pub(super) tag: Option<String>,
}

impl Reference {
    /// Reads `[REGISTRY/]NAME[:TAG][@DIGEST]`; `None` if that is no name an engine would take.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let sound = |b: u8| b.is_ascii_alphanumeric() || b"._-/:".contains(&b);
        let text = text.split_once('@').map_or(text, |(name, _)| name);
        if !(1..=512).contains(&text.len()) || !text.bytes().all(sound) {
            return None;
        }
        // A colon in front of a slash belongs to a registry's port.
        let (repository, tag) = match text.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag.to_owned())),
            _ => (text, None),
        };
        (!repository.split('/').any(str::is_empty) && tag.as_deref() != Some(""))
            .then(|| Reference { repository: repository.to_owned(), tag })
    }

    /// Whether the last components of the repository are those of `wanted`, whatever the registry.
    pub(super) fn is(&self, wanted: &str) -> bool {
        self.repository
            .strip_suffix(wanted)
            .is_some_and(|registry| registry.is_empty() || registry.ends_with('/'))
    }

    /// Whether this is only the last component of `wanted`, as people name images in a layout,
    /// where the format speaks of one word and not of a repository.
    pub(super) fn is_short_for(&self, wanted: &str) -> bool {
        wanted.rsplit('/').next() == Some(self.repository.as_str())
    }

    /// Whether it is `registry` (or, without one, anything) that stands before `wanted`.
    pub(super) fn is_from(&self, registry: Option<&str>, wanted: &str) -> bool {
        match registry {
            None => self.is(wanted),
            Some(registry) => self.repository == format!("{registry}/{wanted}"),
        }
    }

    /// Whether both differ in nothing but tags, and in whether docker's own registry is written
    /// out, which docker itself leaves out.
    pub(super) fn is_in_repository_of(&self, other: &Reference) -> bool {
        let short = |text: &'_ str| text.strip_prefix("docker.io/").unwrap_or(text).to_owned();
        short(&self.repository) == short(&other.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

/// Whether `text` can name an image that is asked for: `ovishpc/ldms-samp`.
pub(super) fn is_image_name(text: &str) -> bool {
    let component = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
    };
    text.len() <= 256 && text.split('/').count() == 2 && text.split('/').all(component)
}

/// The one spelling of a member's name: no `./` in front, no empty components.
/// `None` for a name that is absolute or goes upwards: nothing inside an archive needs that.
pub(super) fn member_name(raw: &str) -> Option<String> {
    if raw.split('/').any(|part| part == "..") {
        return None;
    }
    beneath("", raw)
}

/// Where the relative path `raw` leads from directory `from`; `None` if out of the archive.
pub(super) fn beneath(from: &str, raw: &str) -> Option<String> {
    if raw.starts_with('/') || raw.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    for part in raw.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Platform;

    #[test]
    fn platforms_have_one_spelling() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v7", "linux/arm/v7"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), shown);
        }
        for text in ["", "linux", "linux/", "/amd64", "linux/amd64/", "linux/a b", "l/a/v/w"] {
            assert_eq!(
                text.parse::<Platform>().unwrap_err().kind(),
                crate::error::Kind::Usage,
                "{text}"
            );
        }
    }

    #[test]
    fn references_match_on_the_last_two_components() {
        for text in [
            "ovishpc/ldms-samp",
            "ovishpc/ldms-samp:latest",
            "docker.io/ovishpc/ldms-samp:latest",
            "localhost/ovishpc/ldms-samp:latest",
            "registry.site.example:5000/mirror/ovishpc/ldms-samp:4.4.4",
            "docker.io/ovishpc/ldms-samp:4.4.4@sha256:00",
        ] {
            assert!(Reference::parse(text).unwrap().is("ovishpc/ldms-samp"), "{text}");
        }
        for text in [
            "ldms-samp:latest",
            "xovishpc/ldms-samp",
            "ovishpc/ldms-samp2",
            "ovishpc/ldms-samp/x",
            "registry:5000/ldms-samp",
        ] {
            assert!(!Reference::parse(text).unwrap().is("ovishpc/ldms-samp"), "{text}");
        }
        for text in ["", ":latest", "a//b", "a b", "a\nb", "x:", "ö"] {
            assert!(Reference::parse(text).is_none(), "{text}");
        }
        let one = |text| Reference::parse(text).unwrap();
        assert!(one("docker.io/a/b:1").is_in_repository_of(&one("a/b@sha256:00")));
        assert!(!one("localhost/a/b:1").is_in_repository_of(&one("a/b:1")));
        let port = Reference::parse("registry:5000/a/b").unwrap();
        assert_eq!((port.tag, port.repository.as_str()), (None, "registry:5000/a/b"));
    }

    #[test]
    fn member_names_stay_inside() {
        assert_eq!(member_name("./a//b/").as_deref(), Some("a/b"));
        for name in ["/etc/passwd", "../x", "a/../b", "a/..", "a\0b"] {
            assert_eq!(member_name(name), None, "{name:?}");
        }
        assert_eq!(beneath("a/b", "../c").as_deref(), Some("a/c"));
        assert_eq!(beneath("a", "../../c"), None);
        assert_eq!(beneath("a", "/c"), None);
    }
}
