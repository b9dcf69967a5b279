//! Files that are small to write and expensive to read.
#![allow(dead_code, reason = "each user takes another part of it")]

/// A text of at most a megabyte, and the rule of the problem that it must result in; `None` when it may be planned.
pub struct Hostile {
    pub name: &'static str,
    pub text: String,
    pub rule: Option<&'static str>,
}

const MEGABYTE: usize = 1_000_000;

/// Repeats the unit until it fills a megabyte.
fn filled(unit: &str) -> String {
    unit.repeat(MEGABYTE / unit.len() - 100)
}

fn numbered(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

/// Returns jobs of one stage each, with stage names of this length.
fn stages(count: usize, length: usize) -> String {
    let name = "s".repeat(length);
    format!("jobs:\n  include:\n{}", numbered(count, |n| format!("  - {{stage: {name}{n}, env: A={n}}}\n")))
}

fn bomb(levels: usize) -> String {
    let list = |n: usize| vec![format!("*a{}", n - 1); 9].join(",");
    format!("a0: &a0 [x]\n{}", numbered(levels - 1, |n| format!("a{0}: &a{0} [{1}]\n", n + 1, list(n + 1))))
}

fn merges(count: usize) -> String {
    let before = |n: usize| (0..n).map(|j| format!("*k{j}")).collect::<Vec<_>>().join(",");
    numbered(count, |n| format!("k{n}: &k{n}\n  <<: [{}]\n  x{n}: 1\n", before(n)))
}

fn axis(key: &str, values: usize) -> String {
    format!("{key}: [{}]\n", (0..values).map(|n| n.to_string()).collect::<Vec<_>>().join(","))
}

/// Returns a stage with a condition that depends on many facts.
fn compared(n: usize) -> String {
    let facts =
        numbered(4, |fact| format!("env(A{fact}) IN ({}) AND ", numbered(20, |text| format!("v{text}, ")) + "w"));
    format!("- name: s{n}\n  if: {facts}branch = a AND branch =~ ^{{1,{n}}}b AND tag IS present\n")
}

/// Returns a deployment whose tests have to be tried with many branches.
fn deployed(n: usize) -> String {
    let branches = numbered(90, |branch| format!("b{branch}, "));
    let test = format!("$TRAVIS_BRANCH =~ ^(a|b|[a-z]{{20}}{{9}}x{n})+$ && -n $TRAVIS_TAG");
    format!("- {{provider: script, script: x, on: {{branch: [{branches}], condition: ['{test}', '{test}']}}}}\n")
}

/// Lists texts in which traps are looked for.
fn trapped() -> [Hostile; 4] {
    let heredocs = format!("script: 'cat {}'\n", "<<A ".repeat(12_000));
    let braces = format!("script: true\nenv:\n  - A: '{}'\n", filled("{,"));
    let stages = format!("script: true\nstages:\n{}", numbered(400, compared));
    let deployments = format!("script: true\ndeploy:\n{}", numbered(90, deployed));
    [
        Hostile { name: "heredocs", text: heredocs, rule: Some("empty-heredoc") },
        Hostile { name: "braces in a variable", text: braces, rule: None },
        Hostile { name: "texts that a condition compares with", text: stages, rule: None },
        Hostile { name: "deployments", text: deployments, rule: Some("deployment-never-runs") },
    ]
}

/// Lists the texts.
pub fn all() -> Vec<Hostile> {
    let entries = |n: usize, line: &str| format!("  - {{{line}{n}}}\n");
    let include = |line: &str, count| numbered(count, |n| entries(n, line));
    let heavy = r"\w{20}[^a]{9}(a|b|c){9}";
    let slow = "(?=(a+)+$)(a|aa)+(?!x)b";
    let of = |name, text, rule| Hostile { name, text, rule };
    let mut all = vec![
        of("a bomb of aliases", bomb(12), Some("bad-yaml")),
        of("merges of merges", merges(400), Some("bad-yaml")),
        of("brackets", filled("["), Some("bad-yaml")),
        of("dashes", filled("- "), Some("bad-yaml")),
        of("quotes", format!("a: \"{}", filled("\\n")), Some("bad-yaml")),
        of("90,000 keys", numbered(90_000, |n| format!("k{n}: v\n")), Some("bad-yaml")),
        of("5,900 keys", numbered(5_900, |n| format!("k{n}: v\n")), Some("too-many-problems")),
        of("one key 5,900 times", "script: a\n".repeat(5_900), Some("too-many-problems")),
        of("5,900 misspelt keys", numbered(5_900, |n| format!("scrpt{n}: v\n")), Some("too-many-problems")),
        of("long keys", numbered(900, |n| format!("{}{n}: v\n", "k".repeat(1_000))), Some("too-many-problems")),
        of("10,000 included jobs", format!("jobs:\n  include:\n{}", include("env: A=", 10_000)), Some("bad-yaml")),
        of("3,000 included jobs", format!("jobs:\n  include:\n{}", include("env: A=", 3_000)), Some("too-many-jobs")),
        of(
            "a product",
            format!("language: python\n{}{}{}", axis("python", 90), axis("arch", 90), axis("env", 90)),
            Some("too-many-jobs"),
        ),
        of(
            "a product of long texts",
            format!("language: python\n{}env: [\"A={}\"]\n", axis("python", 900), "x".repeat(900_000)),
            Some("too-many-jobs"),
        ),
        of("many long stages", stages(900, 900), Some("too-many-jobs")),
        of(
            "a stage that all take over",
            format!("{}{}", stages(1, 500_000), include("env: B=", 900)),
            Some("too-many-jobs"),
        ),
        of(
            "variables for all jobs",
            format!("env:\n  global:\n{}  jobs:\n{}", include("G: ", 3_000), include("A: ", 900)),
            Some("too-many-jobs"),
        ),
        of(
            "exclusions",
            format!("env:\n{}jobs:\n  exclude:\n{}", include("A: ", 900), include("env: B=", 900)),
            Some("too-many-jobs"),
        ),
        of("parentheses in a condition", format!("if: {}\n", filled("(")), Some("invalid-condition")),
        of("100,000 terms", format!("if: {}a\n", "a OR ".repeat(100_000)), Some("invalid-condition")),
        of(
            "a condition for each job",
            format!("env:\n{}if: env(A) =~ /{heavy}/ OR true\n", include("A: ", 900)),
            Some("too-many-jobs"),
        ),
        of(
            "a condition of each job",
            format!("jobs:\n  include:\n{}", numbered(900, |n| format!("  - if: commit_message =~ /{heavy}{n}/\n"))),
            Some("too-many-jobs"),
        ),
        of(
            "an expression that goes back",
            format!(
                "env:\n{}if: env(A) =~ /{slow}/ OR true\n",
                numbered(900, |n| format!("  - A: {}{n}\n", "a".repeat(900)))
            ),
            Some("too-many-jobs"),
        ),
        of(
            "conditions of imports",
            format!("import:\n{}", numbered(1_000, |n| format!("- source: a.yml\n  if: sender =~ /{heavy}{n}/\n"))),
            Some("too-many-imports"),
        ),
        of("branches", format!("branches:\n  only:\n{}", format!("  - /{heavy}/\n").repeat(9_000)), None),
        of("a long variable", format!("script: true\nenv: A={}\n", "x".repeat(900_000)), None),
        of("open substitutions", format!("env: 'A={}'\n", filled("$(")), Some("invalid-env-var")),
        of("quotes in a variable", format!("env:\n  - |\n    A={}\n", filled("\"' ")), Some("invalid-env-var")),
        of("50,000 variables", format!("env: {}\n", numbered(50_000, |n| format!("A{n}=1 "))), Some("too-many-vars")),
        of("variables in a command", format!("script: {}\n", numbered(7_000, |n| format!("$A{n} "))), None),
        of("assignments", format!("script: {}\n", "a=$B ".repeat(9_000)), None),
        of("templates", format!("notifications:\n  slack: {{template: '{}'}}\n", filled("%{a}")), None),
    ];
    all.extend(trapped());
    all
}

/// Writes a commit that costs minutes within all bounds: 100 expressions of a schema on 100 long texts. Each expression
/// has more states than its cache holds.
pub fn write_planning_bomb(write: impl Fn(&str, &str)) {
    let pattern = |n| format!("{{\"pattern\": \"[a-w]{{{}}}a[ab]{{{}}}[c-y]\"}}", n / 10 + 1, n % 10 + 10);
    let patterns: Vec<String> = (0..100).map(pattern).collect();
    let mut random = 1_u32;
    let mut letter = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if random >> 31 == 0 { 'a' } else { 'b' }
    };
    let text: String = (0..240_000).map(|_| letter()).collect();
    let schema = format!("{{\"properties\": {{\"text\": {{\"anyOf\": [{}]}}}}}}", patterns.join(","));
    write("ci/s.json", &schema);
    write(".travis.yml", "script: true\nlora: {dialects: [{schema: ci/s.json, configs: 'configs/*.yaml'}]}\n");
    for n in 0..100 {
        write(&format!("configs/{n}.yaml"), &format!("text: {text}\n"));
    }
}
