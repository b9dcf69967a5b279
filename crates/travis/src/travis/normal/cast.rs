//! Conversions of scalars into another type.

use super::value::Kind;

/// The words that a boolean may be written with (travis-yml doc/helper/cast.rb).
const TRUE: [&str; 5] = ["true", "on", "yes", "enabled", "required"];
const FALSE: [&str; 5] = ["false", "off", "no", "disabled", "not required"];

/// Returns the boolean that a text stands for where a boolean is expected.
pub fn boolean(text: &str) -> Option<bool> {
    let lower = text.to_lowercase();
    if TRUE.contains(&lower.as_str()) { Some(true) } else { FALSE.contains(&lower.as_str()).then_some(false) }
}

/// Returns the number that a text stands for where a number is expected.
pub fn number(text: &str) -> Option<Kind> {
    crate::yaml::is_integer(text).then(|| Kind::Num(text.to_owned()))
}
