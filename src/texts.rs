//! The texts of a bundle, which decide what happens on a host: profiles, templates of units and of
//! configuration files. A program has its own built in; a packing site's come in their place or
//! besides them.
//!
//! All are read, and profiles checked, before the long work begins.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use crate::config;
use crate::error::{Error, Kind, Result};
use crate::manifest::is_plain_name;
use crate::named;
use crate::profile::{Profile, is_service_name};

static PROFILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/profiles");
static UNITS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/units");
static CONFIG: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/bundle/config");

/// Most bytes of one text.
const LIMIT: u64 = 1 << 20;

/// The folders of texts, in the order in which a bundle has them.
const FOLDERS: [&str; 3] = ["profiles", "units", "config"];

/// What a site's folder may hold, for messages.
const WHAT_FITS: &str =
    "profiles are called ROLE.toml, and templates of configuration files lie in the folder config";

/// All texts of one bundle. One that exists can be packed.
#[derive(Debug)]
pub struct Texts {
    /// By the member's name.
    texts: BTreeMap<String, Text>,
    /// In the order in which their services start.
    profiles: Vec<Profile>,
}

#[derive(Debug)]
struct Text {
    content: String,
    /// The site's file, where it is one.
    file: Option<PathBuf>,
}

impl Text {
    /// What messages call it.
    fn place(&self, member: &str) -> String {
        self.file.as_ref().map_or_else(|| member.to_owned(), |file| file.display().to_string())
    }
}

impl Texts {
    /// The program's own texts, with those of the directory `site` in their place or besides them.
    ///
    /// # Errors
    /// `Usage`: what is wrong with a file of the site's, with its line.
    pub fn gather(site: Option<&Path>) -> Result<Self> {
        let mut texts = BTreeMap::new();
        for (folder, dir) in [("profiles", &PROFILES), ("units", &UNITS), ("config", &CONFIG)] {
            for file in dir.files() {
                let name = file.path().file_name().unwrap_or_default().to_string_lossy();
                let content = file.contents_utf8().ok_or_else(|| {
                    Error::failed("this program's own text is not UTF-8").at(file.path().display())
                })?;
                let text = Text { content: content.to_owned(), file: None };
                texts.insert(format!("{folder}/{name}"), text);
            }
        }
        for (member, path) in site.map_or_else(|| Ok(BTreeMap::new()), listed)? {
            let content = named::text(&path, LIMIT)?;
            texts.insert(member, Text { content, file: Some(path) });
        }
        let mut profiles = Vec::new();
        for (member, text) in &texts {
            let name = member.strip_prefix("profiles/").and_then(|name| name.strip_suffix(".toml"));
            let Some(role) = name else { continue };
            profiles.push(match &text.file {
                None => Profile::parse(role, &text.content)?,
                Some(file) => Profile::parse_file(role, &file.display().to_string(), &text.content)
                    .map_err(|e| e.with_kind(Kind::Usage).remedy("mend the profile"))?,
            });
        }
        profiles.sort_by(|a, b| (a.order, &a.role).cmp(&(b.order, &b.role)));
        let texts = Texts { texts, profiles };
        texts.profiles.iter().try_for_each(|profile| texts.check_templates(profile))?;
        Ok(texts)
    }

    /// The templates that a profile names must be there and use names that it has.
    fn check_templates(&self, profile: &Profile) -> Result<()> {
        for rule in &profile.configs {
            let member = format!("config/{}", rule.template.get_ref());
            let template = self.texts.get(&member).ok_or_else(|| {
                Error::usage(format!("there is no template {member}"))
                    .at(self.line_of(
                        &format!("profiles/{}.toml", profile.role),
                        rule.template.span().start,
                    ))
                    .remedy("lay it into the folder config beside the profile, or name another")
            })?;
            let place = template.place(&member);
            config::check_template(&place, rule.format, &template.content, &|name| {
                profile.knows(name)
            })
            .map_err(|e| e.remedy("mend the template, or add the question to the profile"))?;
        }
        Ok(())
    }

    /// `FILE:LINE` of a byte of a text.
    fn line_of(&self, member: &str, offset: usize) -> String {
        let text = self.texts.get(member);
        let before = text.and_then(|text| text.content.get(..offset)).unwrap_or_default();
        let file = text.map_or_else(|| member.to_owned(), |text| text.place(member));
        format!("{file}:{}", before.matches('\n').count() + 1)
    }

    /// The images that a whole bundle has: those of its roles in their order.
    pub fn images(&self) -> Vec<String> {
        let mut images = Vec::new();
        for name in self.profiles.iter().map(|profile| profile.image.get_ref()) {
            if !images.contains(name) {
                images.push(name.clone());
            }
        }
        images
    }

    /// The members that hold them, in the bundle's order.
    pub fn members(&self) -> Vec<(String, Vec<u8>)> {
        let folder = |folder: &&str| {
            let inside = format!("{folder}/");
            self.texts
                .iter()
                .filter(move |(member, _)| member.starts_with(&inside))
                .map(|(member, text)| (member.clone(), text.content.clone().into_bytes()))
        };
        FOLDERS.iter().flat_map(folder).collect()
    }

    /// The members that are the site's own.
    pub fn of_site(&self) -> Vec<String> {
        let own = self.texts.iter().filter(|(_, text)| text.file.is_some());
        own.map(|(member, _)| member.clone()).collect()
    }
}

/// The files of a site's folder, by the members that they become.
fn listed(site: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut members = BTreeMap::new();
    let mut unknown = Vec::new();
    for (name, path) in entries(site)? {
        let role = name.strip_suffix(".toml").filter(|role| is_service_name(role));
        if name == "config" && path.is_dir() {
            for (name, path) in entries(&path)? {
                if is_plain_name(&name) && !path.is_dir() {
                    members.insert(format!("config/{name}"), path);
                } else {
                    unknown.push(format!("config/{name}"));
                }
            }
        } else if role.is_some() && !path.is_dir() {
            members.insert(format!("profiles/{name}"), path);
        } else {
            unknown.push(name);
        }
    }
    let refused = match &*unknown {
        [] if members.is_empty() => "there is no profile".to_owned(),
        [] => return Ok(members),
        [one] => format!("'{}' is not a profile", one.escape_debug()),
        many => format!("these are not profiles: {}", many.join(", ").escape_debug()),
    };
    Err(Error::usage(refused).at(site.display()).remedy(WHAT_FITS))
}

/// The names in a folder and their paths, but not hidden ones: editors and version control leave
/// such.
fn entries(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let broken = |e| {
        Error::usage("cannot list it")
            .at(folder.display())
            .because(e)
            .remedy("name a directory of profiles with --profiles DIR")
    };
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            entries.insert(name, entry.path());
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests work in folders of their own")]

    use super::*;

    const PROFILE: &str = "summary = \"S\"\nimage = \"site/image\"\norder = 1\n[container]\n";

    #[test]
    fn what_it_was_built_with_can_be_packed() {
        let texts = Texts::gather(None).unwrap();
        assert_eq!(texts.images().len(), 6);
        assert!(texts.of_site().is_empty());
        let members: Vec<String> = texts.members().into_iter().map(|(name, _)| name).collect();
        let place = |folder: &str| members.iter().position(|name| name.starts_with(folder));
        assert!(place("profiles/") == Some(0) && place("units/") > place("profiles/"));
    }

    #[test]
    fn the_sites_come_in_place_of_others_or_besides_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("config")).unwrap();
        fs::write(path("config/site.ini"), "[a]\n").unwrap();
        fs::write(path("mine.toml"), PROFILE).unwrap();
        fs::write(path(".mine.toml.swp"), "x").unwrap();
        let texts = Texts::gather(Some(folder.path())).unwrap();
        assert_eq!(texts.of_site(), ["config/site.ini", "profiles/mine.toml"]);
        assert_eq!(texts.images()[0], "site/image");
        let members = texts.members();
        let last = members.last().unwrap();
        assert_eq!(last, &("config/site.ini".to_owned(), b"[a]\n".to_vec()));
        let role = &texts.profiles[0].role;
        assert_eq!(role, "mine");

        // The image of a role that the site has replaced is not packed.
        let before = Texts::gather(None).unwrap();
        let replaced = &before.profiles[0];
        fs::write(path(&format!("{}.toml", replaced.role)), PROFILE).unwrap();
        let texts = Texts::gather(Some(folder.path())).unwrap();
        assert_eq!(texts.profiles.len(), before.profiles.len() + 1);
        assert!(!texts.images().contains(replaced.image.get_ref()));
    }

    #[test]
    fn what_is_no_profile_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let told = || Texts::gather(Some(folder.path())).unwrap_err().to_string();
        assert!(told().ends_with("there is no profile"), "{}", told());
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.toml"), PROFILE.replace("image", "imagee")).unwrap();
        assert!(told().contains("a.toml:2:1: unknown field"), "{}", told());
        fs::write(path("README"), "").unwrap();
        assert!(told().ends_with("'README' is not a profile"), "{}", told());
        fs::write(path("A b.toml"), PROFILE).unwrap();
        fs::create_dir_all(path("config/more")).unwrap();
        assert!(told().ends_with("these are not profiles: A b.toml, README, config/more"));
    }
}
