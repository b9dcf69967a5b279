//! `trainyard completions` and `trainyard man`.

use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_trainyard");

fn said(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("completions");
    std::fs::write(&script, said(&["completions", "bash"])).unwrap();
    let completed = |words: &str, last: usize| {
        let typed = format!(
            ". {}; COMP_WORDS=({words}); COMP_CWORD={last}; _trainyard trainyard \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{}]}}\"; \
             echo \"${{COMPREPLY[*]}}\"",
            script.display(),
            last - 1
        );
        let output = Command::new("bash").args(["--norc", "-c", &typed]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed("trainyard wat", 1), "watch");
    assert_eq!(completed("trainyard trigger --bra", 2), "--branch");
    assert_eq!(completed("trainyard artifacts d", 2), "download");
    for shell in ["elvish", "fish", "powershell", "zsh"] {
        assert!(said(&["completions", shell]).contains("insecure-http"), "{shell}");
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    said(&["man", pages.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    let help = said(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let names = names.into_iter().filter(|name| !name.is_empty() && *name != "help");
    assert!(names.clone().count() > 30, "{help}");
    for name in names {
        assert!(page(&format!("trainyard-{name}.1")).contains(".SH DESCRIPTION"), "{name}");
    }
    assert!(page("trainyard-watch.1").contains("TRAINYARD_URL") && page("trainyard-watch.1").contains("q quits"));
    assert!(page("trainyard-artifacts-download.1").contains("GLOB"));
    assert!(!pages.join("trainyard-plan-child.1").exists(), "it is not for people");
}
