//! Parser for the marks that Travis's scripts print between the output. They show where a fold begins and ends, and how
//! long a command took.
//!
//! A job can print such marks too, in any order and with any content. So a mark is accepted only in the exact form,
//! with short names of harmless characters. Anything else is shown as text.

use std::time::Duration;

/// Maximum length of a mark; a search need not look further back.
pub(super) const LONGEST: usize = 320;
const LONGEST_NAME: usize = 64;

/// A mark in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    FoldStart(String),
    FoldEnd(String),
    TimeStart(String),
    TimeEnd(String, Duration),
}

/// Finds the mark that `text` ends with. Returns the number of bytes before it, and the mark.
pub(super) fn at_end_of(text: &str) -> Option<(usize, Mark)> {
    let start = text.rfind("travis_")?;
    parse(&text[start..]).map(|mark| (start, mark))
}

fn parse(text: &str) -> Option<Mark> {
    let (what, rest) = text.strip_prefix("travis_")?.split_once(':')?;
    let (edge, rest) = rest.split_once(':')?;
    match (what, edge) {
        ("fold", "start") => name(rest).map(Mark::FoldStart),
        ("fold", "end") => name(rest).map(Mark::FoldEnd),
        ("time", "start") => name(rest).map(Mark::TimeStart),
        ("time", "end") => {
            let (id, facts) = rest.split_once(':')?;
            let nanos = facts.split(',').find_map(|fact| fact.strip_prefix("duration="))?.parse().ok()?;
            // Real facts are numbers and a phase's name; anything else is other text of the job.
            let sound = facts.len() <= 200 && facts.bytes().all(|b| b.is_ascii_alphanumeric() || b"=,_-.".contains(&b));
            sound.then_some(())?;
            Some(Mark::TimeEnd(name(id)?, Duration::from_nanos(nanos)))
        }
        _ => None,
    }
}

/// Returns true if `text` may be a fold's name or a timer's id.
pub(super) fn is_name(text: &str) -> bool {
    let harmless = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(harmless)
}

fn name(text: &str) -> Option<String> {
    is_name(text).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_is_a_mark() {
        assert_eq!(at_end_of("done travis_fold:end:install.2"), Some((5, Mark::FoldEnd("install.2".into()))));
        let time = "travis_time:end:0a1b2c3d:start=1,finish=3,duration=2000000000,event=install";
        assert_eq!(at_end_of(time), Some((0, Mark::TimeEnd("0a1b2c3d".into(), Duration::from_secs(2)))));
        for text in [
            "travis_fold:start:",
            "travis_fold:start:a b",
            "travis_fold:begin:a",
            "travis_fold:start:<b>",
            "travis_time:end:a:duration=-1",
            "travis_time:end:a:duration=99999999999999999999999",
            "travis_time:end:a:duration=1,<script>",
            "travis_fold:start:a and more",
            "travis_",
        ] {
            assert_eq!(at_end_of(text), None, "{text} was taken");
        }
    }
}
