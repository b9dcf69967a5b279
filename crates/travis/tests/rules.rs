//! The pages of the rules in `docs/usage/rules` against the rules themselves: each has a section, and its examples are
//! what they are called.

use std::collections::BTreeSet;
use std::path::Path;

use trainyard_base::domain::{Problem, Revision, Rule, Severity, Trigger};
use trainyard_travis::plan::{CONFIG, Commit, Settings, SourceFile, plan, wanted_imports};
use trainyard_travis::travis::import::{Found, Imports, Source};

/// Rules without a wrong example: one of Travis that a plan does not report.
const UNSHOWN: [Rule; 1] = [Rule::Unsupported];

/// Ends the line above the block of a file whose bytes are escaped.
const ESCAPED: &str = ", in which `\\x…` is a byte";
/// Begins a comment that stands for lines like the one before it, with other numbers in place of its first one.
const MORE: &str = "# … and so on up to ";

/// The files of an example: those that are shown, and those that only have to exist.
#[derive(Default)]
struct Example {
    files: Vec<SourceFile>,
    beside: Vec<String>,
}

impl Example {
    /// Reads the blocks of a section that follow lines such as "Wrong, `a.yaml` beside `data/1.png`:". An image may have a
    /// size, as in "`data/1.png` of 40x30 pixels". What stands `alone` has no `.travis.yml`.
    fn of(text: &str, word: &str) -> Option<Self> {
        let (mut example, mut is_alone) = (Self::default(), false);
        for block in text.split(&format!("\n{word}, `")).skip(1) {
            let (head, rest) = block.split_once(":\n\n```").expect("a block below the line");
            let (_, code) = rest.split_once('\n').expect("a first line");
            let (code, _) = code.split_once("```").expect("an end of the block");
            let (head, text) = match head.strip_suffix(ESCAPED) {
                Some(head) => (head, unescaped(code)),
                None => (head, expanded(code).into_bytes()),
            };
            let (path, beside) = head.split_once('`').expect("a name");
            is_alone |= beside == " alone";
            example.files.push(SourceFile { path: path.to_owned(), text });
            example.add_beside(beside);
        }
        if example.files.is_empty() {
            return None;
        }
        // Without this file, all configs would be asked to have smoke jobs.
        if !is_alone && !example.files.iter().any(|file| file.path == CONFIG) {
            let text = b"language: shell\nscript: make\n".to_vec();
            example.files.push(SourceFile { path: CONFIG.to_owned(), text });
        }
        Some(example)
    }

    /// Adds the files of a text such as " beside `a.txt`, `1.png` of 40x30 pixels".
    fn add_beside(&mut self, text: &str) {
        let mut parts = text.split('`').skip(1);
        while let (Some(name), Some(after)) = (parts.next(), parts.next()) {
            self.beside.push(name.to_owned());
            if let Some(size) = after.trim().strip_prefix("of ").and_then(|size| size.split(' ').next()) {
                let (width, height) = size.split_once('x').expect("a size");
                let [width, height] = [width, height].map(|side| side.parse::<u32>().expect("a number").to_be_bytes());
                let head: [&[u8]; 5] = [b"\x89PNG\r\n\x1a\n", &[0, 0, 0, 13], b"IHDR", &width, &height];
                self.files.push(SourceFile { path: name.to_owned(), text: head.concat() });
            }
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let sha = "0123456789abcdef0123456789abcdef01234567".parse().expect("a commit");
        let trigger = Trigger::push("acme/styles".parse().expect("a name"), "main", sha);
        let mut paths: Vec<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        paths.extend(self.beside.iter().map(String::as_str));
        let commit = Commit { files: &self.files, paths: &paths, changed: None, only_smoke: None };
        let mut imports = Imports::new();
        for wanted in wanted_imports(&self.files, &imports, &trigger, &Settings::default()) {
            let known = self.files.iter().find(|file| file.path == wanted.path);
            let found = match known {
                _ if !is_here(&wanted) => Found::NotHere,
                Some(file) => Found::File(file.text.clone()),
                None => Found::Failed("there is no such file".to_owned()),
            };
            imports.insert(wanted, found);
        }
        plan(commit, &imports, &trigger, &Settings::default()).problems
    }
}

/// Returns the lines with those that a comment stands for.
fn expanded(code: &str) -> String {
    let mut text = String::new();
    let mut before = "";
    for line in code.split_inclusive('\n') {
        match line.trim_start().strip_prefix(MORE) {
            Some(last) => {
                let last: usize = last.trim().replace(',', "").parse().expect("a number");
                let (start, rest) = before.split_at(before.find(|c: char| c.is_ascii_digit()).expect("a number"));
                let (first, end) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
                let first: usize = first.parse().expect("a number");
                text.extend((first + 1..=last).map(|number| format!("{start}{number}{end}")));
            }
            None => text.push_str(line),
        }
        before = line;
    }
    text
}

/// Returns the bytes of a text in which `\x41` stands for the byte 0x41.
fn unescaped(code: &str) -> Vec<u8> {
    let mut parts = code.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
        bytes.extend(rest.as_bytes());
    }
    bytes
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
