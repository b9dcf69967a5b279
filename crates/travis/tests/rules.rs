//! The pages of the rules in `docs/usage/rules` against the rules themselves: each has a section, and its examples are
//! what they are called.

use std::collections::BTreeSet;
use std::path::Path;

use trainyard_base::domain::{Problem, Revision, Rule, Severity, Trigger};
use trainyard_travis::plan::{CONFIG, Commit, Settings, SourceFile, plan, wanted_imports};
use trainyard_travis::travis::import::{Found, Imports, Source};

/// Rules without a wrong example: those about sizes, those about bytes that a page cannot show, and two of Travis that
/// a plan does not report, or that depend on a stack.
const UNSHOWN: [Rule; 11] = [
    Rule::Unsupported,
    Rule::DeprecatedValue,
    Rule::NotUtf8,
    Rule::ByteOrderMark,
    Rule::DataSizes,
    Rule::NoConfig,
    Rule::ConfigTooLarge,
    Rule::TooManyProblems,
    Rule::TooManyImports,
    Rule::ImportsTooLarge,
    Rule::TooManyVars,
];

/// The files of an example: those that are shown, and those that only have to exist.
#[derive(Default)]
struct Example {
    files: Vec<SourceFile>,
    beside: Vec<String>,
}

impl Example {
    /// Reads the blocks of a section that follow lines such as "Wrong, `a.yaml` beside `data/1.png`:".
    fn of(text: &str, word: &str) -> Option<Self> {
        let mut example = Self::default();
        for block in text.split(&format!("\n{word}, `")).skip(1) {
            let (head, rest) = block.split_once(":\n\n```").expect("a block below the line");
            let (_, code) = rest.split_once('\n').expect("a first line");
            let (code, _) = code.split_once("```").expect("an end of the block");
            let mut names = head.split('`').filter(|part| !part.trim_matches([',', ' ']).is_empty());
            let path = names.next().expect("a name").to_owned();
            example.beside.extend(names.filter(|name| *name != " beside ").map(str::to_owned));
            example.files.push(SourceFile { path, text: code.as_bytes().to_vec() });
        }
        if example.files.is_empty() {
            return None;
        }
        // Without this file, all configs would be asked to have smoke jobs.
        if !example.files.iter().any(|file| file.path == CONFIG) {
            let text = b"language: shell\nscript: make\n".to_vec();
            example.files.push(SourceFile { path: CONFIG.to_owned(), text });
        }
        Some(example)
    }

    fn problems(&self) -> Vec<Problem> {
        let sha = "0123456789abcdef0123456789abcdef01234567".parse().expect("a commit");
        let trigger = Trigger::push("acme/styles".parse().expect("a name"), "main", sha);
        let mut paths: Vec<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        paths.extend(self.beside.iter().map(String::as_str));
        let commit = Commit { files: &self.files, paths: &paths, changed: None, only_smoke: None };
        let mut imports = Imports::new();
        for wanted in wanted_imports(&self.files, &imports, &trigger, &Settings::default()) {
            let found =
                if is_here(&wanted) { Found::Failed("there is no such file".to_owned()) } else { Found::NotHere };
            imports.insert(wanted, found);
        }
        plan(commit, &imports, &trigger, &Settings::default()).problems
    }
}

fn is_here(source: &Source) -> bool {
    source.revision == Revision::Built
}

/// Returns the sections of all pages, each with its heading.
fn sections() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/usage/rules");
    let pages = std::fs::read_dir(folder).expect("the pages").map(|page| page.expect("a page").path());
    let texts = pages.map(|page| std::fs::read_to_string(page).expect("a text"));
    texts.flat_map(|text| text.split("\n## ").skip(1).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn each_rule_has_a_section_and_each_section_a_rule() {
    let sections = sections();
    let headed: Vec<&str> = sections.iter().filter_map(|section| section.lines().next()).collect();
    let names: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    assert_eq!(headed.iter().copied().collect::<BTreeSet<_>>(), names);
    assert_eq!(headed.len(), names.len(), "a rule has two sections");
}

#[test]
fn a_wrong_example_breaks_its_rule_and_a_right_one_breaks_none() {
    let mut faults = Vec::new();
    for text in sections() {
        let rule = Rule::named(text.lines().next().unwrap_or_default()).expect("a rule");
        let wrong = Example::of(&text, "Wrong");
        assert_eq!(wrong.is_none(), UNSHOWN.contains(&rule), "{rule}: a wrong example");
        if let Some(problems) = wrong.map(|wrong| wrong.problems())
            && !problems.iter().any(|problem| problem.rule == rule.name())
        {
            faults.push(format!("{rule}: wrong: {problems:#?}"));
        }
        let found = Example::of(&text, "Right").map(|right| right.problems()).unwrap_or_default();
        let is_bad = |it: &Problem| it.severity > Severity::Info || it.rule == rule.name();
        let bad: Vec<_> = found.into_iter().filter(is_bad).collect();
        if !bad.is_empty() {
            faults.push(format!("{rule}: right: {bad:#?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
