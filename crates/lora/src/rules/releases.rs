//! Keys that the trainer's release does not know yet, or no more. The release is that of the repository's requirements,
//! else the newest.

use super::{Config, Map, finding};
use crate::Finding;
use crate::dialect::Unknown;
use crate::domain::{Rule, Severity};
use crate::keys::{Pin, Release, Spec, spec, table};
use crate::tree::Entry;

pub(super) fn keys_of_other_releases(config: &Config<'_>) -> Vec<Finding> {
    let of_map = |map: &Map<'_>| -> Vec<Finding> {
        let Some(section) = table(config.dialect).section(&map.path) else { return Vec::new() };
        let dated = map.entries.iter().filter_map(|entry| Some((*entry, spec(section, entry.name())?)));
        dated
            .filter_map(|(entry, spec)| too_new(config, map, entry, spec).or_else(|| too_old(config, map, entry, spec)))
            .collect()
    };
    config.maps.iter().flat_map(of_map).collect()
}

fn too_new(config: &Config<'_>, map: &Map<'_>, entry: &Entry, spec: &Spec) -> Option<Finding> {
    let Release { package, version } = spec.since.as_ref()?;
    let package = package.as_deref().or(config.dialect.package())?;
    let pin = Pin::of(config.repository, package).filter(|pin| pin.is_before(*version))?;
    let key = entry.name();
    let (severity, fate) = fate(config);
    let message = format!(
        "{key} exists since {package} {version}, but {} asks for an older one, which {fate}: raise the version, or remove \
         the key",
        pin.file
    );
    Some(finding(Rule::UnknownKey, severity, message, entry.at, map.path_of(key)))
}

fn too_old(config: &Config<'_>, map: &Map<'_>, entry: &Entry, spec: &Spec) -> Option<Finding> {
    let Release { package, version } = spec.until.as_ref()?;
    let package = package.as_deref().or(config.dialect.package())?;
    let pin = Pin::of(config.repository, package);
    let is_sure = pin.as_ref().is_some_and(|pin| pin.is_from(*version));
    if !is_sure && pin.is_some_and(|pin| pin.has_high()) {
        return None;
    }
    let key = entry.name();
    let (severity, fate) = fate(config);
    // Without requirements, the newest release is likely, but an image may hold an older one.
    let severity = if is_sure { severity } else { Severity::Warning };
    let mend = spec.now.as_ref().map_or_else(|| "remove it".to_owned(), |now| format!("write {now} in its place"));
    let message = format!("{key} is no key since {package} {version}, which {fate}: {mend}");
    Some(finding(Rule::UnknownKey, severity, message, entry.at, map.path_of(key)))
}

fn fate(config: &Config<'_>) -> (Severity, &'static str) {
    match config.dialect.unknown() {
        Unknown::Refused | Unknown::Extended => (Severity::Error, "refuses it"),
        Unknown::Ignored | Unknown::Open => (Severity::Warning, "ignores it"),
    }
}
