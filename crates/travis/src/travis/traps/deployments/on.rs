//! The conditions of one deployment (travis-build addons/deploy/conditions.rb), for all events that may trigger a build.

use serde_json::Value as Json;

use super::shell_test::Test;
use crate::travis::branches::builds;
use crate::travis::condition::Condition;
use crate::travis::condition::possible::{Budget, Event, Facts, Value, may_hold};
use crate::travis::matrix::Config;

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
    /// The conditions of the deployment itself, so that only those of its job are left.
    All,
    /// The file's key `branches`.
    Built,
}

impl<'a> On<'a> {
    /// Reads the conditions of an entry; `None` when they have an unknown form.
    pub(super) fn read(entry: &'a Config, built: Option<&'a Json>) -> Option<Self> {
        let on = match entry.get("on").or_else(|| entry.get("true")).or_else(|| entry.get("if")) {
            None | Some(Json::Null) => {
                return Some(Self { branches: None, any_branch: false, tags: None, tests: Vec::new(), built });
            }
            Some(Json::String(branch)) => {
                let branches = Some(vec![branch.as_str()]);
                return Some(Self { branches, any_branch: false, tags: None, tests: Vec::new(), built });
            }
            Some(on) => on.as_object()?,
        };
        let branches = match on.get("branch") {
            None | Some(Json::Null) => None,
            Some(Json::Array(items)) => Some(items.iter().filter_map(Json::as_str).collect()),
            Some(Json::Object(map)) => Some(map.keys().map(String::as_str).collect()),
            Some(Json::String(branch)) => Some(vec![branch.as_str()]),
            Some(_) => return None,
        };
        let tags = on.get("tags").and_then(Json::as_bool);
        let any_branch = on.get("all_branches") == Some(&Json::Bool(true)) || tags == Some(true);
        let texts: Vec<&str> = match on.get("condition") {
            Some(Json::Array(items)) => items.iter().filter_map(Json::as_str).collect(),
            one => one.and_then(Json::as_str).into_iter().collect(),
        };
        // A test that cannot be read may hold.
        let tests = texts.into_iter().filter_map(Test::parse).collect();
        Some(Self { branches, any_branch, tags, tests, built })
    }

    /// Returns the reason why no build fulfils all conditions, and the mend; `None` if one may.
    pub(super) fn why_never(&self, conditions: &[&Condition], budget: &mut Budget) -> Option<String> {
        let mut may = |without| may_hold(conditions, self.facts(), |event| self.holds(event, without), budget);
        // If the job itself can never be built, this is said of its own condition.
        if may(Without::Nothing) || !may(Without::All) {
            return None;
        }
        Some(if !self.any_branch && may(Without::Branch) {
            match (&self.branches, may(Without::BranchAndTags)) {
                (None, false) => {
                    "without `tags: true`, `on` means the branch master, and its other conditions, or those of \
                                  its job, ask for a tag, whose build is of no branch; write `tags: true` under `on`"
                        .to_owned()
                }
                (None, true) => "without `branch`, `on` means the branch master, which the other conditions exclude; \
                                 name the branch under `on: branch:`, or write `all_branches: true` there"
                    .to_owned(),
                (Some(branches), false) => format!(
                    "`on` asks for the branch {}, and other conditions for a tag, whose build is of no branch; \
                     write `tags: true` in place of `branch`",
                    branches.join(", ")
                ),
                (Some(branches), true) => format!(
                    "`on` asks for the branch {}, which the other conditions exclude; drop one of both",
                    branches.join(", ")
                ),
            }
        } else if may(Without::Built) {
            "`branches: only:` at the root of the file lets no branch or tag be built that `on` asks for; add it there, \
             a tag by a pattern such as /^v[0-9]/"
                .to_owned()
        } else {
            "its conditions contradict each other, or what every deployment needs: a build that passed and is not one \
             of a pull request; drop one of them"
                .to_owned()
        })
    }

    fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        let only = self.built.and_then(|built| built.get("only")).and_then(Json::as_array);
        let only = only.into_iter().flatten().filter_map(Json::as_str).filter(|name| !name.starts_with('/'));
        let own = self.branches.iter().flatten().copied().chain(["master"]);
        own.chain(only).for_each(|branch| facts.add("branch", branch));
        self.tests.iter().for_each(|test| test.add_to(&mut facts));
        facts
    }

    fn holds(&self, event: &Event, without: Without) -> Option<bool> {
        let is_tag = event.tag != Value::Missing;
        let lifted = matches!(without, Without::Branch | Without::BranchAndTags);
        let mut parts = vec![Some(event.kind != "pull_request")];
        if without == Without::All {
            return parts[0];
        }
        if !self.any_branch && !lifted {
            parts.push(self.names(&event.branch));
        }
        if without == Without::BranchAndTags {
            parts.push(Some(!is_tag));
        }
        parts.extend(self.tags.map(|wanted| Some(wanted == is_tag)));
        parts.extend(self.tests.iter().map(|test| test.holds(event)));
        if without != Without::Built {
            parts.push(is_built(self.built, &event.branch));
        }
        if parts.contains(&Some(false)) { Some(false) } else { None }
    }

    fn names(&self, branch: &Value) -> Option<bool> {
        let names = self.branches.as_deref().unwrap_or(&["master"]);
        match branch {
            Value::Text(branch) if names.contains(&branch.as_str()) => Some(true),
            // The shell may take such a name for a pattern or a variable.
            _ if names.iter().any(|name| name.contains(|c: char| "*?[$/^".contains(c) && c != '/')) => None,
            _ => Some(false),
        }
    }
}

/// Returns whether the file lets a branch or tag be built.
fn is_built(built: Option<&Json>, name: &Value) -> Option<bool> {
    match name {
        Value::Text(name) => Some(builds(built, name).is_ok()),
        _ => {
            let only = built?.get("only")?.as_array()?;
            let is_list = !only.is_empty() && !only.iter().filter_map(Json::as_str).any(|item| item.starts_with('/'));
            is_list.then_some(false)
        }
    }
}
