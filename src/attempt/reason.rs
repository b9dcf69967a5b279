//! The reason why a script did not pass, read from the end of its log.

use std::sync::LazyLock;

use regex::Regex;

use crate::executor::{Exit, Limits};

/// Messages of programs when the machine lacks something, each with its meaning.
const COMPLAINTS: [(&str, &str); 2] = [
    ("No space left on device", "no space was left on the disk or in /dev/shm"),
    ("Failed to initialize NVML", "the container lost its GPU (Failed to initialize NVML)"),
];
/// The exit status of a command that the kernel or another process has killed.
const KILLED: &str = "137";

/// The lines that a compiled script prints after a command that failed (see `travis::script`).
static FAILED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?m)(?:^|\r)(?:\x1b\[[0-9;]*[mK])*The command "([^\n]{1,500}?)(?:"|\n[^"]*") (?:exited with ([1-9][0-9]*)\.|failed and exited with ([0-9]+) during (\w+)\.)"#,
    )
    .unwrap_or_else(|_| unreachable!("a constant that parses"))
});

/// Returns the first command that failed, as `"python train.py" exited with 1`, if the log names one.
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

/// Returns what the machine lacked for a job that did not pass, if that is known.
pub(super) fn lack(exit: &Exit, limits: &Limits, log: &str) -> Option<String> {
    if exit.out_of_memory {
        return Some(format!("out of memory: the limit is {}", limits.memory));
    }
    let complaint = COMPLAINTS.iter().find(|(said, _)| log.contains(said));
    if let Some((_, meaning)) = complaint {
        return Some((*meaning).to_owned());
    }
    // The exit status also counts when the whole machine ran out of memory, which the engine does not report.
    let killed = match FAILED.captures(log) {
        Some(found) => found.get(2).or(found.get(3)).is_some_and(|status| status.as_str() == KILLED),
        None => exit.status.to_string() == KILLED,
    };
    killed.then(|| format!("killed, most likely because memory ran out (the limit is {})", limits.memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_lacked_is_named() {
        let limits = Limits::default();
        let lack = |status, out_of_memory, log: &str| lack(&Exit { status, out_of_memory }, &limits, log);
        let killed = "killed, most likely because memory ran out (the limit is 4.0 GiB)";
        assert_eq!(lack(1, true, "No space left on device").as_deref(), Some("out of memory: the limit is 4.0 GiB"));
        assert_eq!(lack(1, false, "The command \"python x.py\" exited with 137.\n").as_deref(), Some(killed));
        assert_eq!(lack(137, false, "").as_deref(), Some(killed));
        let full = "OSError: [Errno 28] No space left on device\nThe command \"pip\" exited with 1.\n";
        assert_eq!(lack(1, false, full).as_deref(), Some("no space was left on the disk or in /dev/shm"));
        let lost = lack(1, false, "Failed to initialize NVML: Unknown Error\n");
        assert_eq!(lost.as_deref(), Some("the container lost its GPU (Failed to initialize NVML)"));
        assert_eq!(lack(1, false, "The command \"echo exited with 137\" exited with 1.\n"), None);
    }

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
