//! Which of the images that were found are meant: one per wanted name, all for one platform.

use std::collections::BTreeSet;

use super::found::{Absent, Found};
use super::names::Reference;
use crate::error::{Error, Result};
use crate::manifest::Platform;

/// Keeps what has the tag that was asked for; an image that has no name of its own was named by
/// the user, who then means it.
pub(super) fn with_tag(found: Vec<Found>, tag: Option<&str>) -> Vec<Found> {
    let Some(tag) = tag else {
        return found;
    };
    found
        .into_iter()
        .filter_map(|mut image| {
            let nameless = image.references.is_empty();
            image.references.retain(|r| r.tag.as_deref() == Some(tag));
            (nameless || !image.references.is_empty()).then_some(image)
        })
        .collect()
}

/// The reference that tells most: one whose tag is a version rather than `latest`.
pub(super) fn preferred(references: &[Reference]) -> Option<&Reference> {
    references.iter().min_by_key(|r| (r.tag.as_deref().is_none_or(|tag| tag == "latest"), *r))
}

/// One image for each of `wanted`, in that order. Every name must have something in `found`.
pub(super) fn choose(
    found: Vec<Found>,
    wanted: &[String],
    platform: Option<&Platform>,
    absent: &[Absent],
) -> Result<Vec<Found>> {
    let found = merge(found);
    let of = |name: &str| found.iter().filter(|f| f.name == name).collect::<Vec<_>>();
    let platform = match platform {
        Some(platform) => platform.clone(),
        None => common_platform(&wanted.iter().map(|name| of(name)).collect::<Vec<_>>())?,
    };
    let mut chosen = Vec::new();
    let (mut elsewhere, mut unclear) = (Vec::new(), Vec::new());
    for name in wanted {
        let all = of(name);
        let fitting: Vec<_> = all.iter().filter(|f| f.offer.facts.platform == platform).collect();
        match fitting[..] {
            [] => {
                let has = all.iter().map(|found| platform_of(found)).collect::<BTreeSet<_>>();
                let only = has.into_iter().collect::<Vec<_>>().join(", ");
                let lists = absent.iter().filter(|a| a.name == *name).map(|a| a.what.clone());
                let all: Vec<String> = std::iter::once(only).chain(lists).collect();
                elsewhere.push(format!("{name} (only {})", all.join("; ")));
            }
            [one] => chosen.push((*one).clone()),
            ref several => {
                let all: Vec<String> = several.iter().map(|found| describe(found)).collect();
                unclear.push(format!("{name} may be {}", all.join(" or ")));
            }
        }
    }
    if !elsewhere.is_empty() {
        return Err(Error::refused(format!(
            "not for {platform}, which is to be packed: {}",
            elsewhere.join(", ")
        ))
        .remedy(format!(
            "get them for {platform} (docker pull --platform {platform} …), \
             or choose another platform with --platform"
        )));
    }
    if !unclear.is_empty() {
        return Err(Error::usage(format!("different images of one name: {}", unclear.join("; ")))
            .remedy("choose with --tag, or give only the sources that are meant"));
    }
    Ok(chosen)
}

/// Joins what is the same image under the same name.
fn merge(found: Vec<Found>) -> Vec<Found> {
    let mut merged: Vec<Found> = Vec::new();
    for mut image in found {
        let same =
            |f: &&mut Found| f.name == image.name && f.offer.facts.id == image.offer.facts.id;
        match merged.iter_mut().find(same) {
            Some(known) => known.references.append(&mut image.references),
            None => merged.push(image),
        }
    }
    merged
}

/// The one platform that every wanted image is there for.
fn common_platform(wanted: &[Vec<&Found>]) -> Result<Platform> {
    let platforms = |found: &[&Found]| {
        found.iter().map(|f| f.offer.facts.platform.clone()).collect::<BTreeSet<_>>()
    };
    let mut sets = wanted.iter().map(|found| platforms(found));
    let first = sets.next().unwrap_or_default();
    let mut common = sets.fold(first, |all, set| &all & &set);
    match (common.pop_first(), common.is_empty()) {
        (Some(platform), true) => Ok(platform),
        (Some(platform), false) => {
            let others: Vec<String> = common.iter().map(Platform::to_string).collect();
            Err(Error::usage(format!(
                "the images are there for several platforms: {platform}, {}",
                others.join(", ")
            ))
            .remedy(format!("choose one: --platform {platform}")))
        }
        (None, _) => {
            let each: Vec<String> = wanted
                .iter()
                .flatten()
                .map(|found| format!("{} is for {}", found.name, platform_of(found)))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            Err(Error::refused(format!(
                "the images are not all for one platform: {}",
                each.join(", ")
            ))
            .remedy("get all of them for one platform (docker pull --platform …)"))
        }
    }
}

fn platform_of(found: &Found) -> String {
    found.offer.facts.platform.to_string()
}

/// What tells an image from others of the same name.
fn describe(found: &Found) -> String {
    let names: BTreeSet<String> = found.references.iter().map(Reference::to_string).collect();
    let names: Vec<String> = names.into_iter().collect();
    let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
    let offer = &found.offer;
    format!("{} ({names} in {})", offer.facts.id.short(12), offer.config.place())
}
