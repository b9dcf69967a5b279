//! The words of a shell script, as the shell splits it.

use super::parts::{Part, name_length, parameter};
use super::script::{Script, Syntax, UNKNOWN};

/// Maximum number of elements of an array that are read.
const MAX_ELEMENTS: usize = 2_000;

/// A token of a script.
#[derive(Debug)]
pub(super) enum Token {
    Word(Word),
    /// `;`, `&`, `|`, a parenthesis, or the end of a line.
    Break(char),
    /// A redirection to or from this file.
    Redirect(Option<Word>),
}

/// A word before its variables are expanded.
#[derive(Debug, Default)]
pub(super) struct Word {
    pub(super) offset: usize,
    pub(super) parts: Vec<Part>,
    /// The elements of `NAME=(…)`.
    pub(super) array: Option<Vec<Word>>,
}

impl Word {
    /// Returns the text of a word without variables and quotes.
    pub(super) fn plain(&self) -> Option<&str> {
        match &self.parts[..] {
            [Part::Text { text, quoted: false }] if self.array.is_none() => Some(text),
            _ => None,
        }
    }

    fn push(&mut self, text: &str, is_quoted: bool) {
        match self.parts.last_mut() {
            Some(Part::Text { text: last, quoted }) if *quoted == is_quoted => last.push_str(text),
            _ => self.parts.push(Part::Text { text: text.to_owned(), quoted: is_quoted }),
        }
    }
}

/// Reads a script from its start to its end.
pub(super) struct Words<'s> {
    text: &'s str,
    syntax: Syntax,
    at: usize,
    /// The words that end the here-documents of this line.
    documents: Vec<String>,
    is_in_array: bool,
}

impl<'s> Words<'s> {
    pub(super) fn of(script: &'s Script) -> Self {
        Self { text: &script.text, syntax: script.syntax, at: 0, documents: Vec::new(), is_in_array: false }
    }

    /// Reads the next token; `None` at the end of the script.
    pub(super) fn next(&mut self) -> Option<Token> {
        loop {
            let c = self.peek()?;
            match c {
                ' ' | '\t' | '\r' => self.at += 1,
                '\n' => {
                    self.at += 1;
                    self.skip_documents();
                    return Some(Token::Break('\n'));
                }
                '#' => self.skip_line(),
                c if c == self.syntax.escape() && self.is_continued() => self.skip_line_end(),
                ';' | '|' | '(' | ')' => {
                    self.at += 1;
                    return Some(Token::Break(c));
                }
                '&' if !self.rest().starts_with("&>") => {
                    self.at += 1;
                    return Some(Token::Break(c));
                }
                '<' | '>' | '&' => return Some(self.redirect()),
                _ => {
                    let word = self.word();
                    // A number right before a redirection names a stream.
                    let is_stream = word.plain().is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                    if !(is_stream && matches!(self.peek(), Some('<' | '>'))) {
                        return Some(Token::Word(word));
                    }
                }
            }
        }
    }

    fn rest(&self) -> &'s str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn skip_line(&mut self) {
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
    }

    /// Returns true if the escape here joins the next line to this one.
    fn is_continued(&self) -> bool {
        let after = &self.rest()[1..];
        after.starts_with('\n') || after.starts_with("\r\n")
    }

    fn skip_line_end(&mut self) {
        self.skip_line();
        self.at += 1;
    }

    fn redirect(&mut self) -> Token {
        let is_document = self.rest().starts_with("<<") && !self.rest().starts_with("<<<");
        while matches!(self.peek(), Some('<' | '>' | '&' | '|')) {
            self.at += 1;
        }
        let is_dash = is_document && self.rest().starts_with('-');
        self.at += usize::from(is_dash);
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.at += 1;
        }
        if matches!(self.peek(), None | Some('\n' | ';' | '|' | '(' | ')' | '&')) {
            return Token::Redirect(None);
        }
        let word = self.word();
        if is_document {
            let text = |part: &Part| if let Part::Text { text, .. } = part { text.clone() } else { String::new() };
            self.documents.push(word.parts.iter().map(text).collect());
        }
        Token::Redirect(Some(word))
    }

    fn skip_documents(&mut self) {
        for end in std::mem::take(&mut self.documents) {
            while self.at < self.text.len() {
                let line = self.rest().split('\n').next().unwrap_or_default();
                self.at = (self.at + line.len() + 1).min(self.text.len());
                if line.trim() == end {
                    break;
                }
            }
        }
    }

    fn word(&mut self) -> Word {
        let mut word = Word { offset: self.at, ..Word::default() };
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | ')' | '<' | '>' => break,
                '(' => {
                    // An array has no arrays in it.
                    let is_array =
                        !self.is_in_array && word.plain().is_some_and(|text| text.ends_with('=') && text.len() > 1);
                    if is_array {
                        self.at += 1;
                        word.array = Some(self.elements());
                    }
                    break;
                }
                c if c == self.syntax.escape() => {
                    if self.is_continued() {
                        self.skip_line_end();
                        continue;
                    }
                    self.at += 1;
                    // The shell drops it at the end of a script.
                    if let Some(c) = self.take() {
                        word.push(c.encode_utf8(&mut [0; 4]), true);
                    }
                }
                '\'' => {
                    let rest = &self.text[self.at + 1..];
                    let end = rest.find('\'').unwrap_or(rest.len());
                    word.push(&rest[..end], true);
                    self.at = (self.at + end + 2).min(self.text.len());
                }
                '"' => self.quoted(&mut word),
                _ => self.unquoted(&mut word, false),
            }
        }
        word
    }

    /// Reads what has the same meaning in double quotes and outside of them.
    fn unquoted(&mut self, word: &mut Word, quoted: bool) {
        match self.peek() {
            Some('$') => {
                let part = self.variable(quoted);
                word.parts.push(part);
            }
            Some('`') => {
                let rest = &self.text[self.at + 1..];
                self.at = (self.at + rest.find('`').unwrap_or(rest.len()) + 2).min(self.text.len());
                word.parts.push(Part::Unknown { many: !quoted });
            }
            Some('%') if self.syntax == Syntax::Batch => {
                let rest = &self.text[self.at + 1..];
                let name = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"_~".contains(byte)).count();
                self.at += 1 + name + usize::from(rest[name..].starts_with('%'));
                word.parts.push(Part::Unknown { many: true });
            }
            Some(UNKNOWN) => {
                self.at += UNKNOWN.len_utf8();
                word.parts.push(Part::Unknown { many: !quoted });
            }
            Some(c) => {
                self.at += c.len_utf8();
                word.push(c.encode_utf8(&mut [0; 4]), quoted);
            }
            None => {}
        }
    }

    fn quoted(&mut self, word: &mut Word) {
        self.at += 1;
        word.push("", true);
        while let Some(c) = self.peek() {
            if c == '"' {
                self.at += 1;
                return;
            }
            if c != self.syntax.escape() {
                self.unquoted(word, true);
                continue;
            }
            if self.is_continued() {
                self.skip_line_end();
                continue;
            }
            self.at += 1;
            let next = self.peek();
            if next.is_some_and(|next| ['$', '`', '"', '\\'].contains(&next)) || self.syntax != Syntax::Posix {
                self.take();
                word.push(next.unwrap_or(c).encode_utf8(&mut [0; 4]), true);
            } else {
                word.push("\\", true);
            }
        }
    }

    /// Reads the elements of an array, which may stand on several lines with comments between them.
    fn elements(&mut self) -> Vec<Word> {
        let mut elements = Vec::new();
        self.is_in_array = true;
        while let Some(c) = self.peek() {
            match c {
                ')' => {
                    self.at += 1;
                    break;
                }
                '#' => self.skip_line(),
                c if c == self.syntax.escape() && self.is_continued() => self.skip_line_end(),
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '(' | '<' | '>' => self.at += 1,
                _ => {
                    let word = self.word();
                    if elements.len() < MAX_ELEMENTS {
                        elements.push(word);
                    }
                }
            }
        }
        self.is_in_array = false;
        elements
    }

    fn variable(&mut self, quoted: bool) -> Part {
        self.at += 1;
        let unknown = Part::Unknown { many: !quoted };
        match self.peek() {
            _ if self.syntax != Syntax::Posix => {
                let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_:{}.".contains(byte);
                self.at += self.rest().bytes().take_while(is_name).count();
                Part::Unknown { many: true }
            }
            Some('(') => {
                self.skip_substitution();
                unknown
            }
            Some('{') => {
                let inside = self.braces();
                parameter(inside, quoted)
            }
            Some('@' | '*') => {
                self.at += 1;
                Part::Unknown { many: true }
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let length = name_length(self.rest());
                let name = self.rest()[..length].to_owned();
                self.at += length;
                Part::Variable { name, default: None, quoted }
            }
            Some(c) if c.is_ascii_digit() || ['#', '?', '$', '!', '-'].contains(&c) => {
                self.at += 1;
                unknown
            }
            _ => Part::Text { text: "$".to_owned(), quoted: true },
        }
    }

    /// Skips `(…)`, in which quotes and further parentheses may stand.
    fn skip_substitution(&mut self) {
        let (mut depth, mut quote) = (0_usize, None);
        while let Some(c) = self.take() {
            match (c, quote) {
                ('\\', None | Some('"')) => drop(self.take()),
                (c, Some(open)) if c == open => quote = None,
                (_, Some(_)) => {}
                ('\'' | '"', None) => quote = Some(c),
                ('(', None) => depth += 1,
                (')', None) => depth -= 1,
                _ => {}
            }
            if depth == 0 && quote.is_none() {
                return;
            }
        }
    }

    /// Reads `{…}` and returns what is between the braces.
    fn braces(&mut self) -> &'s str {
        let start = self.at + 1;
        let mut depth = 0_usize;
        while let Some(c) = self.take() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return &self.text[start..self.at - 1];
            }
        }
        &self.text[start..]
    }
}
