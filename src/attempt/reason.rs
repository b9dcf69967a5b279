//! Why a script did not pass, read from the end of its log.

use std::sync::LazyLock;

use regex::Regex;

/// The lines that a compiled script prints after a command that failed (see `travis::script`).
static FAILED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?m)(?:^|\r)(?:\x1b\[[0-9;]*[mK])*The command "([^\n]{1,500}?)(?:"|\n[^"]*") (?:exited with ([1-9][0-9]*)\.|failed and exited with ([0-9]+) during (\w+)\.)"#,
    )
    .unwrap_or_else(|_| unreachable!("a constant that parses"))
});

/// The first command that failed, as `"python train.py" exited with 1`, if the log tells of one.
pub(super) fn failed_command(log: &str) -> Option<String> {
    let found = FAILED.captures(log)?;
    let command = &found[1];
    Some(match (found.get(2), found.get(3), found.get(4)) {
        (Some(status), ..) => format!("\"{command}\" exited with {}", status.as_str()),
        (None, Some(status), Some(phase)) => {
            format!("\"{command}\" exited with {} during {}", status.as_str(), phase.as_str())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_command_that_failed_is_named() {
        let log = "\u{1b}[32;1mThe command \"echo fine\" exited with 0.\u{1b}[0m\n\
                   \u{1b}[31;1mThe command \"python train.py --x \"y\"\" exited with 1.\u{1b}[0m\n\
                   The command \"later\" exited with 2.\n";
        assert_eq!(failed_command(log).as_deref(), Some("\"python train.py --x \"y\"\" exited with 1"));
        let set_up = "The command \"pip install x\" failed and exited with 3 during install.\n";
        assert_eq!(failed_command(set_up).as_deref(), Some("\"pip install x\" exited with 3 during install"));
        assert_eq!(failed_command("The command \"echo\" exited with 0.\n"), None);
    }
}
