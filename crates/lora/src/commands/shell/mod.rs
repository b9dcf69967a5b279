//! Shell scripts: their commands, with the variables that they set themselves.

mod parts;
mod run;
mod script;
mod variables;
mod words;

use crate::yaml::Mark;

pub(super) use run::{Command, commands};
pub(super) use script::{Script, Syntax, UNKNOWN};
pub(super) use variables::Variables;

/// An argument of a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Argument {
    /// The text; of one that is not whole, the part before what only the job knows.
    pub(super) text: String,
    /// The part behind what only the job knows.
    pub(super) end: String,
    pub(super) is_whole: bool,
    /// True when the job may see no argument here, or several.
    pub(super) may_be_many: bool,
    pub(super) at: Mark,
}

impl Argument {
    pub(super) fn of(text: &str, at: Mark) -> Self {
        Self { text: text.to_owned(), end: String::new(), is_whole: true, may_be_many: false, at }
    }

    pub(super) fn unknown(may_be_many: bool, at: Mark) -> Self {
        Self { text: String::new(), end: String::new(), is_whole: false, may_be_many, at }
    }

    /// Returns the name of the file that the argument names, without its folders.
    pub(super) fn file_name(&self) -> Option<&str> {
        let (text, has_folder) = if self.is_whole { (&self.text, true) } else { (&self.end, false) };
        let (folder, name) = text.rsplit_once(['/', '\\']).map_or((None, text.as_str()), |(a, b)| (Some(a), b));
        (has_folder || folder.is_some()).then_some(name)
    }

    fn cost(&self) -> usize {
        self.text.len() + size_of::<Self>()
    }

    /// Returns the text if all of it is known.
    pub(super) fn known(&self) -> Option<&str> {
        self.is_whole.then_some(&self.text)
    }
}
