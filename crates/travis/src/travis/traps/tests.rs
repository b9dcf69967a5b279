use serde_json::json;

use super::*;
use crate::travis::matrix;
use crate::travis::normal::{Options, normalize, read};

fn traps_in(text: &str) -> Vec<Trap> {
    let document = read(text).expect("YAML");
    let normal = normalize(&document, Options::PRODUCTION).expect("a map");
    let config = normal.config.as_object().cloned().unwrap_or_default();
    let jobs = matrix::matrix(&config, &json!({})).jobs;
    traps(document.root.as_ref().expect("a root"), &config, &jobs)
}

fn rules(text: &str) -> Vec<&'static str> {
    traps_in(text).into_iter().map(|trap| trap.rule.name()).collect()
}

/// Returns a shell job with these commands, one item each, as block scalars.
fn job(commands: &[&str]) -> String {
    let item = |command: &&str| format!("  - |\n    {}\n", command.replace('\n', "\n    "));
    format!("language: shell\nscript:\n{}", commands.iter().map(item).collect::<String>())
}

#[test]
fn a_list_under_env_that_splits_what_belongs_together() {
    let text = "language: shell\nenv:\n  - CONFIG=a.yaml\n  - OUT=./out\nscript:\n  - python train.py $CONFIG ${OUT}\n";
    let traps = traps_in(text);
    let [trap] = traps.as_slice() else { panic!("{traps:?}") };
    assert_eq!((trap.rule.name(), trap.severity), ("env-list-splits-variables", Severity::Warning));
    assert_eq!((trap.at.line, trap.at.column), (2, 1));
    let meant = text.replace("OUT=./out", "CONFIG=b.yaml").replace("${OUT}", "");
    assert_eq!(rules(&meant), Vec::<&str>::new());
}

#[test]
fn variables_that_nothing_defines() {
    for command in ["train --out $OUT", "train \"${OUT}\"", "echo \"it's $OUT\"", "a=1; echo $OUT", "! test -d $OUT"] {
        let traps = traps_in(&job(&[command]));
        let [trap] = traps.as_slice() else { panic!("{command}: {traps:?}") };
        assert_eq!(
            (trap.rule.name(), trap.severity, trap.key.as_str()),
            ("undefined-variable", Severity::Info, "script")
        );
        assert!(trap.message.contains("$OUT") && trap.message.contains("settings"), "{}", trap.message);
        assert_eq!(trap.at.line, 4, "{command}");
    }
}

#[test]
fn variables_that_may_well_be_defined() {
    for commands in [
        ["OUT=./out", "train $OUT"],
        ["export OUT", "train $OUT"],
        ["read -r A OUT < file", "train $OUT"],
        ["for OUT in a b; do train $OUT; done", "true"],
        ["train ${OUT:-./out} ${OUT-x} ${OUT:+x} ${OUT:=x} ${OUT:?no}", "true"],
        ["train '$OUT' \\$OUT", "awk '{print $NF, $OUT}'"],
        ["# train $OUT", "true"],
        ["train $HOME $TRAVIS_BRANCH $RANDOM $PWD $1 $? $$OUT $out", "true"],
        ["source env.sh", "train $OUT"],
        [". ./env.sh", "train $OUT"],
        ["if [ -z \"$OUT\" ]; then exit 1; fi", "train $OUT"],
        ["cat <<END\n$OUT\nEND", "true"],
        ["docker run -e OUT=1 image", "train $OUT"],
        ["printf -v OUT x", "train $OUT"],
    ] {
        assert_eq!(rules(&job(&commands)), Vec::<&str>::new(), "{commands:?}");
    }
    let train = job(&["train $OUT"]);
    for env in ["env: OUT=a\n", "env: {global: {OUT: a}}\n", "env: [A=1, OUT=1]\n", "env: {global: [secure: x]}\n"] {
        assert_eq!(rules(&format!("{env}{train}")), Vec::<&str>::new(), "{env}");
    }
}

#[test]
fn a_name_that_is_nearly_another() {
    let traps = traps_in(&format!("env: OUTPUT_DIR=out\n{}", job(&["train $OUPUT_DIR"])));
    assert_eq!(traps[0].severity, Severity::Warning);
    assert!(traps[0].message.contains("the file defines OUTPUT_DIR"), "{}", traps[0].message);
    let numbered = traps_in(&format!("env: OUTPUT1=out\n{}", job(&["train $OUTPUT2"])));
    assert_eq!(numbered[0].severity, Severity::Info);
}

#[test]
fn jobs_without_a_script() {
    for text in ["language: python\ninstall: true\n", "language: shell\n", "language: generic\nenv: A=1\n"] {
        let traps = traps_in(text);
        let [trap] = traps.as_slice() else { panic!("{text}: {traps:?}") };
        assert_eq!((trap.rule.name(), trap.severity, trap.at.line), ("missing-script", Severity::Warning, 1), "{text}");
    }
    for text in [
        "language: python\nscript: pytest\n",
        "language: node_js\n",
        "language: shell\ninstall: ./all.sh\n",
        "language: shell\ndeploy: {provider: script, script: ./publish.sh}\n",
    ] {
        assert_eq!(rules(text), Vec::<&str>::new(), "{text}");
    }
}

#[test]
fn heredocs_that_feed_nothing() {
    for (command, told) in [
        ("cat << > config.yaml", "no word"),
        ("cat <<", "no word"),
        ("cat << EOF > config.yaml", "no text follows"),
        ("cat <<EOF\nEOF", "no text between"),
        ("cat <<-'END' > a\nlora_rank: 4\n  END", "never comes"),
        ("cat << EOF > a\nb: 1\nEOF c", "never comes"),
    ] {
        let traps = traps_in(&job(&[command]));
        let [trap] = traps.as_slice() else { panic!("{command}: {traps:?}") };
        assert_eq!(
            (trap.rule.name(), trap.severity, trap.at.line),
            ("empty-heredoc", Severity::Warning, 4),
            "{command}"
        );
        assert!(trap.message.contains(told), "{command}: {}", trap.message);
    }
    for command in [
        "cat << EOF > a\nb: 1\nEOF",
        "cat <<-EOF\n\tb: 1\n\tEOF",
        "cat <<'EOF' | sh\ntrue\nEOF\ntrue",
        "grep a <<< \"$HOME\"",
        "echo $((1 << 3)) $(( 1<<A ))",
        "echo 'a << b'",
        "# a <<",
    ] {
        assert_eq!(rules(&job(&[command])), Vec::<&str>::new(), "{command}");
    }
    let items = "language: shell\nscript:\n  - cat << EOF > a\n  - \"b: 1\"\n  - EOF\n";
    assert_eq!(rules(items), ["empty-heredoc"]);
}

#[test]
fn progress_bars_in_the_log() {
    for command in [
        "wget https://a.b/model.safetensors",
        "sudo wget -O model https://a.b/c",
        "curl -LO https://a.b/c",
        "if true; then curl -o model https://a.b/c; fi",
        "pip install --progress-bar on torch",
        "huggingface-cli download acme/base",
        "hf download acme/base",
    ] {
        let traps = traps_in(&job(&[command]));
        let [trap] = traps.as_slice() else { panic!("{command}: {traps:?}") };
        assert_eq!((trap.rule.name(), trap.severity), ("progress-bar", Severity::Info), "{command}");
    }
    for command in [
        "wget -q https://a.b/c",
        "wget -nv https://a.b/c",
        "wget -qO- https://a.b/c",
        "wget https://a.b/c 2> /dev/null",
        "wget https://a.b/c &> /dev/null",
        "curl https://a.b/c",
        "curl -sSLO https://a.b/c",
        "curl -fsSL https://a.b/c -o d",
        "pip install torch",
        "pip install --progress-bar off torch",
        "apt-get install wget",
        "HF_HUB_DISABLE_PROGRESS_BARS=1 hf download acme/base",
    ] {
        assert_eq!(rules(&job(&[command])), Vec::<&str>::new(), "{command}");
    }
    let quiet = format!("env: HF_HUB_DISABLE_PROGRESS_BARS=1\n{}", job(&["hf download acme/base"]));
    assert_eq!(rules(&quiet), Vec::<&str>::new());
}

#[test]
fn numbers_that_lose_a_zero() {
    for text in ["python: 3.10\n", "python: [3.8, 3.10]\n", "jobs: {include: [python: 3.10]}\n"] {
        let traps = traps_in(&format!("language: python\nscript: true\n{text}"));
        let [trap] = traps.as_slice() else { panic!("{text}: {traps:?}") };
        assert_eq!((trap.rule.name(), trap.severity, trap.at.line), ("number-loses-zero", Severity::Info, 3), "{text}");
        assert!(trap.message.contains("number 3.1 to"), "{}", trap.message);
    }
    for text in ["python: \"3.10\"\n", "python: [3.8, 3.0, 3.11, 3.10-dev, pypy3.10]\n", "python: 3\n"] {
        assert_eq!(rules(&format!("language: python\nscript: true\n{text}")), Vec::<&str>::new(), "{text}");
    }
}

#[test]
fn secrets_in_plain_text() {
    let token = format!("hf_{}", "aB3dE5gH7j".repeat(4));
    for text in [
        "env: HF_TOKEN=q8w7e6r5t4z3u2\n".to_owned(),
        "env: {global: [WANDB_API_KEY=0123456789abcdef0123]}\n".to_owned(),
        "env: {global: {AWS_SECRET_ACCESS_KEY: q8w7e6r5t4z3u2}}\n".to_owned(),
        format!("env: X={token}\n"),
        format!("before_script: \"login --token {token}\"\n"),
        format!("deploy: {{provider: script, script: \"publish {token}\"}}\n"),
        "env: X=AKIAABCDEFGHIJKLMNO7\n".to_owned(),
    ] {
        let traps = traps_in(&format!("{text}language: shell\nscript: true\n"));
        let [trap] = traps.as_slice() else { panic!("{text}: {traps:?}") };
        assert_eq!((trap.rule.name(), trap.severity, trap.at.line), ("plain-secret", Severity::Warning, 1), "{text}");
        for value in [token.as_str(), "q8w7", "0123456789", "AKIAABCD"] {
            assert!(!trap.message.contains(value), "{}", trap.message);
        }
    }
    for text in [
        "env: HF_TOKEN=$OTHER_TOKEN_12345\n".to_owned(),
        "env: DB_PASSWORD=travis\n".to_owned(),
        "env: TOKEN_FILE=/run/secrets/token-1234\n".to_owned(),
        "env: SECRET=\"some words 1 2 3 4\"\n".to_owned(),
        "env: REVISION=0123456789abcdef0123\n".to_owned(),
        "env: {global: {HF_TOKEN: {secure: q8w7e6r5t4z3u2}}}\n".to_owned(),
        format!("env: {{global: [secure: {token}]}}\n"),
        "env: X=hf_transfer Y=ghp_x\n".to_owned(),
    ] {
        assert_eq!(rules(&format!("{text}language: shell\nscript: true\n")), Vec::<&str>::new(), "{text}");
    }
}

#[test]
fn what_the_normal_form_tells_of_is_not_told_again() {
    let text = "sudo: required\nlanguage: shell\nscript: true\n";
    let normal = normalize(&read(text).expect("YAML"), Options::PRODUCTION).expect("a map");
    let told = normal.messages.iter().filter(|message| message.text().contains("`sudo`"));
    assert_eq!(told.count(), 1);
    assert_eq!(rules(text), Vec::<&str>::new());
}

#[test]
fn few_traps_are_told_of_one_file() {
    assert_eq!(traps_in(&job(&["cat <<"; 500])).len(), MAX_TRAPS);
}
