//! Puts answers together: for each service and question, the one that counts.
//!
//! Everything given is checked before anybody is asked, and what is missing is listed at once.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{Value as Jinja, context};

use super::ask::{Ask, Item, out_of_list};
use super::number::{self, Found};
use super::{Answers, Host, ServiceAnswers, Set, Sources, Values, Wanted};
use crate::error::{Error, Result};
use crate::profile::template::Scope;
use crate::profile::{Question, Type, Value};

/// Complete answers.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What to record: what was said, and the defaults of what would have been asked. Services
    /// that were not wanted this time keep what they have.
    pub answers: Answers,
    /// A value for each question that applies, by service.
    pub values: BTreeMap<String, Values>,
    /// What rules have come to, by `SERVICE.KEY`: for people.
    pub found: BTreeMap<String, String>,
    /// What the administrator should know.
    pub warnings: Vec<String>,
}

/// Decides every question of the services wanted. `ask` is asked what nobody has said yet.
pub fn settle(
    wanted: &[Wanted],
    sources: &Sources,
    host: &Host,
    ask: &mut dyn Ask,
) -> Result<Settled> {
    check_names(wanted, sources)?;
    let given: Vec<Given> = wanted
        .iter()
        .map(|service| Given::collect(service, sources, host))
        .collect::<Result<_>>()?;

    let mut settled = Settled {
        answers: sources.recorded.clone().map(|(_, answers)| answers).unwrap_or_default(),
        values: BTreeMap::new(),
        found: BTreeMap::new(),
        warnings: Vec::new(),
    };
    settled.answers.engine = sources.engine();
    let mut missing = Vec::new();
    for (service, given) in wanted.iter().zip(&given) {
        let (values, recorded) = settle_one(service, given, host, ask, &mut missing, &mut settled)?;
        let role = Some(service.profile.role.clone());
        let answers = ServiceAnswers { role, values: recorded };
        settled.answers.service.insert(service.name.into(), answers);
        settled.values.insert(service.name.into(), values);
    }
    if missing.is_empty() {
        refuse_idle_sets(wanted, sources, &settled)?;
        return Ok(settled);
    }
    Err(Error::usage(format!("not answered:\n  {}", missing.join("\n  ")))
        .remedy("give them with --set or --answers FILE, or run without --yes to be asked"))
}

/// One service: all values, and those of them to be recorded.
fn settle_one(
    service: &Wanted,
    given: &Given,
    host: &Host,
    ask: &mut dyn Ask,
    missing: &mut Vec<String>,
    settled: &mut Settled,
) -> Result<(Values, Values)> {
    let (mut values, mut recorded) = (Values::new(), Values::new());
    let mut scope = scope(service, host);
    for question in &service.profile.questions {
        let key = question.key.get_ref();
        let in_profile = |why: String| {
            let place = format!("profiles/{}.toml, question {key}", service.profile.role);
            Error::refused(why).at(place)
        };
        if !question.applies(&scope).map_err(in_profile)? {
            scope.insert(key.clone(), Jinja::from(()));
            // It may have a meaning again, and is not to be asked for then.
            if let Some(value) = given.0.get(key).filter(|_| question.kind != Type::Secret) {
                recorded.insert(key.clone(), value.clone());
            }
            continue;
        }
        let help = question.help(&scope).map_err(in_profile)?;
        let secret = question.kind == Type::Secret;
        let at_boot = number::is_at_boot(question, &given.0, host);
        let find = |value: &Value| number::find(question, value, host, at_boot);
        let (value, keep) = if let Some(value) = given.0.get(key) {
            (Some(value.clone()), !secret)
        } else if secret && service.kept.contains(key) {
            (None, false)
        } else {
            let proposal = question.proposal(&scope);
            let proposal = proposal.and_then(|value| find(&value).map(|_| value));
            match &question.ask {
                Some(prompt) if ask.asks() => {
                    let prompt = format!("{}: {prompt}", service.name);
                    (Some(put(question, &prompt, help, proposal, &find, ask)?), !secret)
                }
                _ => match proposal {
                    // What holds for a prepared root must hold once it has booted.
                    Ok(value) => {
                        let lasts = question.is_moment && host.prepared.is_some();
                        (Some(value), (question.ask.is_some() || lasts) && !secret)
                    }
                    Err(why) => {
                        missing.push(missing_line(service.name, question, help, &why));
                        (None, false)
                    }
                },
            }
        };
        let Some(value) = value else {
            scope.insert(key.clone(), Jinja::from(()));
            continue;
        };
        if keep {
            recorded.insert(key.clone(), value.clone());
        }
        let name = format!("{}.{key}", service.name);
        let Found { value, told, lacks } =
            find(&value).map_err(|why| Error::usage(format!("{name}: {why}")))?;
        settled.warnings.extend(lacks.map(|lacks| format!("{name} = {value}: {lacks}")));
        settled.found.extend(told.map(|told| (name, told)));
        scope.insert(key.clone(), Jinja::from(&value));
        if !value.is_nothing() {
            values.insert(key.clone(), value);
        }
    }
    Ok((values, recorded))
}

fn missing_line(service: &str, question: &Question, help: Option<String>, why: &str) -> String {
    let key = question.key.get_ref();
    let what = question.ask.clone().or(help).unwrap_or_else(|| key.into());
    let value = question.kind.placeholder();
    format!("{service}.{key} ({what}; {why}): give --set {service}.{key}={value}")
}

/// Asks one question; an answer that `find` can make nothing of is refused.
fn put(
    question: &Question,
    prompt: &str,
    help: Option<String>,
    proposal: Result<Value, String>,
    find: &dyn Fn(&Value) -> Result<Found, String>,
    ask: &mut dyn Ask,
) -> Result<Value> {
    if let Some(help) = help {
        ask.note(&help)?;
    }
    if let (Err(why), Some(_)) = (&proposal, &question.default) {
        ask.note(&format!("Nothing is proposed: {why}."))?;
    }
    let key = question.key.get_ref();
    let told = |value: &Value| Some(format!("{key} {}.", find(value).ok()?.told?));
    if let Some(told) = proposal.as_ref().ok().and_then(&told) {
        ask.note(&told)?;
    }
    let read = |text: &str| {
        let value = question.read(text)?;
        find(&value).map(|_| value)
    };
    match question.kind {
        Type::Choice => {
            let items: Vec<Item> = question
                .choices
                .iter()
                .filter(|choice| choice.offered)
                .map(|choice| Item { value: choice.value.clone(), label: choice.label.clone() })
                .collect();
            let shown = proposal.ok().map(|value| value.to_string());
            let default = items.iter().position(|item| Some(&item.value) == shown.as_ref());
            let chosen = ask.choose(prompt, &items, default)?;
            let item = items.into_iter().nth(chosen).ok_or_else(out_of_list)?;
            Ok(Value::Text(item.value))
        }
        Type::Bool => {
            let default = matches!(proposal, Ok(Value::Bool(true)));
            ask.confirm(prompt, default).map(Value::Bool)
        }
        Type::Secret => {
            let text = ask.secret(&format!("{prompt} (empty: a random one)"))?;
            read(&text).map_err(|why| Error::usage(format!("{prompt}: {why}")))
        }
        _ if question.optional => {
            let shown = proposal.ok().filter(|value| !value.is_nothing());
            let shown = shown.map(|value| value.to_string());
            // What is proposed is taken by an empty answer: saying none takes a word then.
            let how = if shown.is_some() { "- for none" } else { "empty for none" };
            let read = |text: &str| read(if text == "-" { "" } else { text });
            let check = |text: &str| read(text).map(drop);
            let text = ask.text(&format!("{prompt} ({how})"), shown.as_deref(), &check)?;
            read(&text).map_err(|why| Error::usage(format!("{prompt}: {why}")))
        }
        _ => {
            let shown = proposal.ok().map(|value| value.to_string());
            let text = ask.text(prompt, shown.as_deref(), &|text| read(text).map(drop))?;
            let value = read(&text).map_err(|why| Error::usage(format!("{prompt}: {why}")))?;
            if let Some(told) = told(&value).filter(|_| shown.as_ref() != Some(&value.to_string()))
            {
                ask.note(&told)?;
            }
            Ok(value)
        }
    }
}

/// What templates of a service may use besides its answers.
pub(crate) fn scope(service: &Wanted, host: &Host) -> Scope {
    let munge = service.munge;
    Scope::from([
        ("service".into(), Jinja::from(service.name)),
        (
            "host".into(),
            context! {
                name => host.name.as_str(),
                names => &host.names,
                munge_socket => host.munge_socket,
                munge_key => host.munge_key,
                prepared => host.prepared.is_some(),
            },
        ),
        (
            "image".into(),
            context! {
                munge_uid => munge.map(|owner| owner.uid),
                munge_gid => munge.map(|owner| owner.gid),
            },
        ),
    ])
}

/// Answers of one service that were given, checked.
struct Given(Values);

impl Given {
    fn collect(service: &Wanted, sources: &Sources, host: &Host) -> Result<Self> {
        let mut given = Values::new();
        for (layer, recorded) in [(&sources.recorded, true), (&sources.file, false)] {
            let Some((place, answers)) = layer else { continue };
            let own = answers.service.get(service.name).map(|answers| &answers.values);
            for (key, value) in answers.all.iter().chain(own.into_iter().flatten()) {
                let key = key.replace('-', "_");
                // A recorded answer whose question is gone, or refused, with a newer profile is dropped;
                // the other file's keys have been checked.
                let Some(question) = service.profile.question(&key) else { continue };
                if recorded && question.refused.is_some() {
                    continue;
                }
                let shown = question.shown(format!("{value:?}"));
                let taken = question.takes_answers();
                let value = taken.and_then(|()| question.accept(value)).map_err(|why| {
                    Error::usage(format!("{}.{key} = {shown}: {why}", service.name)).at(place)
                })?;
                given.insert(key, value);
            }
        }
        for set in sources.sets.iter().filter(|set| set.is_for(service)) {
            let Some(question) = service.profile.question(&set.key) else { continue };
            let taken = question.takes_answers();
            let value = taken.and_then(|()| question.read(&set.value)).map_err(|why| {
                let value = question.shown(set.value.escape_debug().to_string());
                Error::usage(format!("--set {}.{}={value}: {why}", service.name, set.key))
            })?;
            given.insert(set.key.clone(), value);
        }
        // Whatever order they were said in: when is said by one of them.
        for question in &service.profile.questions {
            let key = question.key.get_ref();
            let Some(value) = given.get(key) else { continue };
            let at_boot = number::is_at_boot(question, &given, host);
            number::find(question, value, host, at_boot)
                .map_err(|why| Error::usage(format!("{}.{key} = {value}: {why}", service.name)))?;
        }
        Ok(Given(given))
    }
}

impl Set {
    fn is_for(&self, service: &Wanted) -> bool {
        self.service.as_ref().is_none_or(|name| name == service.name)
    }

    fn shown(&self) -> String {
        let service = self.service.as_ref().map(|name| format!("{name}.")).unwrap_or_default();
        format!("{service}{}", self.key)
    }
}

/// Refuses services and keys that do not exist, in `--set` and in `--answers FILE`.
fn check_names(wanted: &[Wanted], sources: &Sources) -> Result<()> {
    for set in &sources.sets {
        check_name(wanted, set.service.as_deref(), &set.key).map_err(|e| e.at("--set"))?;
    }
    let Some((place, answers)) = &sources.file else { return Ok(()) };
    for key in answers.all.keys() {
        check_name(wanted, None, key).map_err(|e| e.at(place))?;
    }
    // Of services that are not wanted here the file may speak: it may serve many nodes.
    for service in wanted {
        for key in answers.service.get(service.name).into_iter().flat_map(|a| a.values.keys()) {
            check_name(wanted, Some(service.name), key).map_err(|e| e.at(place))?;
        }
    }
    Ok(())
}

fn check_name(wanted: &[Wanted], service: Option<&str>, key: &str) -> Result<()> {
    let key = key.replace('-', "_");
    let meant: Vec<&Wanted> =
        wanted.iter().filter(|w| service.is_none_or(|name| name == w.name)).collect();
    if meant.is_empty() {
        let name = service.unwrap_or_default();
        let names = near(name, wanted.iter().map(|w| w.name));
        return Err(Error::usage(format!("there is no service '{}' here", name.escape_debug()))
            .remedy(format!("the services are {}", names.join(", "))));
    }
    if meant.iter().any(|w| w.profile.question(&key).is_some()) {
        return Ok(());
    }
    let keys: BTreeSet<&str> = meant
        .iter()
        .flat_map(|w| w.profile.questions.iter().map(|question| question.key.get_ref().as_str()))
        .collect();
    let names: Vec<&str> = meant.iter().map(|w| w.name).collect();
    Err(Error::usage(format!("{} has no question '{}'", names.join(", "), key.escape_debug()))
        .remedy(format!("the questions are {}", near(&key, keys).join(", "))))
}

/// The names that are near to a wrong one, or all of them if none is.
fn near<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let names: Vec<&str> = names.into_iter().collect();
    let near: Vec<&str> =
        names.iter().copied().filter(|name| strsim::jaro_winkler(wrong, name) > 0.8).collect();
    if near.is_empty() { names } else { near }
}

/// A `--set` whose question does not apply would be ignored in silence: it is refused.
fn refuse_idle_sets(wanted: &[Wanted], sources: &Sources, settled: &Settled) -> Result<()> {
    for set in &sources.sets {
        let used = wanted.iter().filter(|service| set.is_for(service)).any(|service| {
            // An empty answer is one, too, but no value.
            let asks_nothing = set.value.trim().is_empty()
                && service.profile.question(&set.key).is_some_and(|question| question.optional);
            let values = settled.values.get(service.name);
            asks_nothing || values.is_some_and(|values| values.contains_key(&set.key))
        });
        if !used {
            let when = wanted
                .iter()
                .filter_map(|service| service.profile.question(&set.key)?.when.as_ref())
                .map(|when| when.get_ref().as_str())
                .next()
                .unwrap_or_default();
            return Err(Error::usage(format!("--set {} is not used", set.shown()))
                .remedy(format!("it has a meaning only with: {when}")));
        }
    }
    Ok(())
}
