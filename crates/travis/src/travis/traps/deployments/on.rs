//! The conditions of one deployment (travis-build addons/deploy/conditions.rb), for all events that trigger builds.

use serde_json::Value as Json;

use super::shell_test::Test;
use crate::travis::condition::Condition;
use crate::travis::condition::possible::{Budget, Event, Facts, Value, all, may_hold};
use crate::travis::matrix::Config;

/// Maximum number of branches that are named, and of tests.
const MAX_NAMES: usize = 100;
const MAX_TESTS: usize = 5;
/// Work of a test for one event, where a comparison counts one.
const TEST_WORK: usize = 5;

/// Reasons why a deployment without `branch` never happens, with the mend.
const NO_TAGS: &str = "without `tags: true`, `on` means the branch master, and its other conditions, or those of its \
                       job, ask for a tag, whose build is of no branch; write `tags: true` under `on`";
const NO_BRANCH: &str = "without `branch`, `on` means the branch master, which the other conditions exclude; name the \
                         branch under `on: branch:`, or write `all_branches: true` there";

/// The key `on`.
pub(super) struct On<'a> {
    /// Branches that it names; `None` for the usual one.
    branches: Option<Vec<&'a str>>,
    /// True when the branch does not matter.
    any_branch: bool,
    tags: Option<bool>,
    tests: Vec<Test>,
    /// The key `branches` of the file.
    built: Option<&'a Json>,
}

/// Conditions that are left out, to see whether the deployment would happen without them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    Branch,
    /// As `Branch`, in builds that are not of a tag.
    BranchAndTags,
    /// All conditions of the deployment, so that only those of its job are left.
    All,
    /// The file's key `branches`.
    Built,
}

impl<'a> On<'a> {
    /// Reads the conditions of an entry; `None` when they have an unknown form, or are too many to be checked.
    pub(super) fn read(entry: &'a Config, built: Option<&'a Json>) -> Option<Self> {
        let mut all = Self { branches: None, any_branch: false, tags: None, tests: Vec::new(), built };
        match entry.get("on").or_else(|| entry.get("true")).or_else(|| entry.get("if")) {
            None | Some(Json::Null) => {}
            Some(Json::String(branch)) => all.branches = Some(vec![branch.as_str()]),
            Some(on) => {
                let on = on.as_object()?;
                // Another value, such as a variable, may mean either.
                let is_flag = |key: &str| on.get(key).is_none_or(Json::is_boolean);
                if !is_flag("tags") || !is_flag("all_branches") {
                    return None;
                }
                all.branches = match on.get("branch") {
                    Some(Json::Object(map)) => Some(map.keys().map(String::as_str).collect()),
                    branches => branches.map(texts),
                };
                all.tags = on.get("tags").and_then(Json::as_bool);
                all.any_branch = on.get("all_branches") == Some(&Json::Bool(true)) || all.tags == Some(true);
                let conditions = on.get("condition").map(texts).unwrap_or_default();
                // A test that cannot be read may hold.
                all.tests = conditions.into_iter().take(MAX_TESTS).filter_map(Test::parse).collect();
            }
        }
        let names = all.branches.as_ref().map_or(0, Vec::len) + all.listed().map_or(0, |names| names.len());
        (names <= MAX_NAMES).then_some(all)
    }

    /// Returns the reason why no build fulfils all conditions, and the mend; `None` if one may.
    pub(super) fn why_never(&self, conditions: &[&Condition], budget: &mut Budget) -> Option<String> {
        let mut may = |without| may_hold(conditions, self.facts(), |event| self.holds(event, without), budget);
        // If the job itself can never be built, this is said of its own condition.
        if may(Without::Nothing) || !may(Without::All) {
            return None;
        }
        if let Some(name) = self.no_branch() {
            return Some(format!(
                "no branch is called `{name}`; under `on: branch:`, write one name or a list of them, or write \
                 `all_branches: true` and a pattern as `condition: $TRAVIS_BRANCH =~ …`"
            ));
        }
        if self.tests.iter().any(|test| test.is_constant()) {
            return Some(
                "a test under `condition` compares only texts, so its result is always the same; write `$` before the \
                 name of a variable, as in $TRAVIS_BRANCH"
                    .to_owned(),
            );
        }
        if !self.any_branch && may(Without::Branch) {
            return Some(self.excluded(!may(Without::BranchAndTags)));
        }
        let why = if may(Without::Built) {
            "`branches: only:` at the root of the file lets no branch or tag be built that `on` asks for; add it \
             there, a tag by a pattern such as /^v[0-9]/"
        } else {
            "its conditions contradict each other, or what every deployment needs: a build that passed and is not one \
             of a pull request; drop one of them"
        };
        Some(why.to_owned())
    }

    /// Returns the reason and the mend when the other conditions exclude the branch that `on` asks for.
    fn excluded(&self, is_of_tag: bool) -> String {
        match (&self.branches, is_of_tag) {
            (None, true) => NO_TAGS.to_owned(),
            (None, false) => NO_BRANCH.to_owned(),
            (Some(branches), true) => format!(
                "`on` asks for the branch {}, and other conditions for a tag, whose build is of no branch; write \
                 `tags: true` in place of `branch`",
                branches.join(", ")
            ),
            (Some(branches), false) => format!(
                "`on` asks for the branch {}, which the other conditions exclude; drop one of both",
                branches.join(", ")
            ),
        }
    }

    /// Returns the first name, if no branch can have any of the names.
    fn no_branch(&self) -> Option<&'a str> {
        let names = self.branches.as_ref()?;
        let is_none = |name: &&str| name.contains(char::is_whitespace) || name.starts_with('/');
        names.iter().all(is_none).then(|| names.first().copied())?
    }

    fn facts(&self) -> Facts {
        let mut facts = Facts::new(self.tests.len() * TEST_WORK);
        let own = self.branches.iter().flatten().copied().chain(["master"]);
        own.chain(self.listed().unwrap_or_default()).for_each(|branch| facts.add("branch", branch));
        self.tests.iter().for_each(|test| test.add_to(&mut facts));
        facts
    }

    /// Returns the branches and tags of which alone the file lets builds be made, if it lists them without patterns.
    fn listed(&self) -> Option<Vec<&'a str>> {
        let only = self.built?.get("only").map(texts)?;
        (!only.is_empty() && !only.iter().any(|name| name.starts_with('/') || name.contains(','))).then_some(only)
    }

    fn holds(&self, event: &Event, without: Without) -> Option<bool> {
        if without == Without::All {
            return None;
        }
        let is_tag = event.tag != Value::Missing;
        let lifted = matches!(without, Without::Branch | Without::BranchAndTags);
        let mut parts = vec![Some(event.kind != "pull_request")];
        if !self.any_branch && !lifted {
            parts.push(self.names(&event.branch));
        }
        if without == Without::BranchAndTags {
            parts.push(Some(!is_tag));
        }
        parts.extend(self.tags.map(|wanted| Some(wanted == is_tag)));
        parts.extend(self.tests.iter().map(|test| test.holds(event)));
        if without != Without::Built
            && let Some(listed) = self.listed()
        {
            parts.push(Some(matches!(&event.branch, Value::Text(name) if listed.contains(&name.as_str()))));
        }
        all(parts)
    }

    fn names(&self, branch: &Value) -> Option<bool> {
        let names = self.branches.as_deref().unwrap_or(&["master"]);
        match branch {
            Value::Text(branch) if names.contains(&branch.as_str()) => Some(true),
            // The shell may take such a name for a pattern or a variable.
            _ if names.iter().any(|name| name.contains(['*', '?', '[', '$']) && !name.starts_with('/')) => None,
            _ => Some(false),
        }
    }
}

fn texts(value: &Json) -> Vec<&str> {
    match value {
        Json::Array(items) => items.iter().filter_map(Json::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}
