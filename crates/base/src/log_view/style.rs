//! Colours and emphasis of a log's text, as the terminal's SGR sequences set them.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use vte::Params;

const BOLD: u8 = 1;
const FAINT: u8 = 2;
const ITALIC: u8 = 4;
const UNDERLINE: u8 = 8;
const STRUCK: u8 = 16;
const INVERSE: u8 = 32;

/// The sixteen colours of the stylesheet, as in xterm. Other colours become the nearest of these: a page without inline
/// styles can only name colours, and these are readable in light and in dark mode.
const PALETTE: [(u8, u8, u8); 16] = [
    (0, 0, 0),
    (205, 0, 0),
    (0, 205, 0),
    (205, 205, 0),
    (0, 0, 238),
    (205, 0, 205),
    (0, 205, 205),
    (229, 229, 229),
    (127, 127, 127),
    (255, 0, 0),
    (0, 255, 0),
    (255, 255, 0),
    (92, 92, 255),
    (255, 0, 255),
    (0, 255, 255),
    (255, 255, 255),
];

/// Style of a character. A colour is 0 for the page's default, else 1 to 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Style {
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    foreground: u8,
    #[serde(rename = "g", default, skip_serializing_if = "is_zero")]
    background: u8,
    #[serde(rename = "e", default, skip_serializing_if = "is_zero")]
    emphasis: u8,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out a reference")]
fn is_zero(value: &u8) -> bool {
    *value == 0
}

impl Style {
    /// Applies the parameters of one SGR sequence.
    pub(super) fn apply(&mut self, params: &Params) {
        let mut params = params.iter();
        while let Some(param) = params.next() {
            match param {
                [38, rest @ ..] => self.foreground = colour(rest, &mut params).unwrap_or(self.foreground),
                [48, rest @ ..] => self.background = colour(rest, &mut params).unwrap_or(self.background),
                [4, 0] => self.emphasis &= !UNDERLINE,
                [code, ..] => self.apply_code(*code),
                [] => {}
            }
        }
    }

    fn apply_code(&mut self, code: u16) {
        match code {
            0 => *self = Self::default(),
            1 => self.emphasis |= BOLD,
            2 => self.emphasis |= FAINT,
            3 => self.emphasis |= ITALIC,
            4 | 21 => self.emphasis |= UNDERLINE,
            7 => self.emphasis |= INVERSE,
            9 => self.emphasis |= STRUCK,
            22 => self.emphasis &= !(BOLD | FAINT),
            23 => self.emphasis &= !ITALIC,
            24 => self.emphasis &= !UNDERLINE,
            27 => self.emphasis &= !INVERSE,
            29 => self.emphasis &= !STRUCK,
            30..=37 => self.foreground = named(code - 30),
            39 => self.foreground = 0,
            40..=47 => self.background = named(code - 40),
            49 => self.background = 0,
            90..=97 => self.foreground = named(code - 90 + 8),
            100..=107 => self.background = named(code - 100 + 8),
            _ => {}
        }
    }

    /// Returns the classes of the stylesheet, separated by spaces; empty for plain text.
    pub(super) fn classes(self) -> String {
        let mut classes = String::new();
        if self.foreground > 0 {
            let _ = write!(classes, "f{} ", self.foreground - 1);
        }
        if self.background > 0 {
            let _ = write!(classes, "g{} ", self.background - 1);
        }
        let names = [(BOLD, "b"), (FAINT, "d"), (ITALIC, "i"), (UNDERLINE, "u"), (STRUCK, "s"), (INVERSE, "v")];
        for (flag, name) in names {
            if self.emphasis & flag != 0 {
                classes.push_str(name);
                classes.push(' ');
            }
        }
        classes.truncate(classes.trim_end().len());
        classes
    }

    /// Returns the parameters of the SGR sequence that sets this style on a terminal in its plain state.
    pub(super) fn sgr(self) -> String {
        let mut codes = Vec::new();
        let flags = [(BOLD, 1), (FAINT, 2), (ITALIC, 3), (UNDERLINE, 4), (STRUCK, 9), (INVERSE, 7)];
        codes.extend(flags.iter().filter(|(flag, _)| self.emphasis & flag != 0).map(|(_, code)| *code));
        for (colour, named, bright) in [(self.foreground, 30, 90), (self.background, 40, 100)] {
            match colour {
                0 => {}
                1..=8 => codes.push(named + colour - 1),
                _ => codes.push(bright + colour - 9),
            }
        }
        codes.iter().map(u8::to_string).collect::<Vec<_>>().join(";")
    }
}

/// Returns our number for the palette's `index`.
fn named(index: u16) -> u8 {
    u8::try_from(index.min(15)).unwrap_or(0) + 1
}

/// Reads the rest of `38` or `48`, either in the same parameter (`38:5:1`) or in the following ones (`38;5;1`).
fn colour<'a>(rest: &[u16], following: &mut impl Iterator<Item = &'a [u16]>) -> Option<u8> {
    let mut next = || following.next().and_then(|param| param.first().copied());
    match rest {
        [5, index, ..] => Some(indexed(*index)),
        [2, red, green, blue] | [2, _, red, green, blue, ..] => Some(nearest(*red, *green, *blue)),
        [] => match next()? {
            5 => next().map(indexed),
            2 => Some(nearest(next()?, next()?, next()?)),
            _ => None,
        },
        _ => None,
    }
}

/// Maps a colour of xterm's 256 to the palette: 16 named ones, a cube of 6 × 6 × 6, 24 greys.
fn indexed(index: u16) -> u8 {
    let level = |n: u16| if n == 0 { 0 } else { 55 + 40 * n };
    match index {
        0..16 => named(index),
        16..232 => {
            let n = index - 16;
            nearest(level(n / 36), level(n / 6 % 6), level(n % 6))
        }
        _ => {
            let grey = 8 + 10 * (index.min(255) - 232);
            nearest(grey, grey, grey)
        }
    }
}

fn nearest(red: u16, green: u16, blue: u16) -> u8 {
    let distance = |(r, g, b): (u8, u8, u8)| {
        let square = |a: u16, b: u8| (i32::from(a.min(255)) - i32::from(b)).pow(2);
        square(red, r) + square(green, g) + square(blue, b)
    };
    (0_u16..16).min_by_key(|index| distance(PALETTE[usize::from(*index)])).map_or(0, named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn palettes_fold_into_sixteen() {
        let named = |n: u8| n + 1;
        assert_eq!(indexed(9), named(9));
        assert_eq!(indexed(196), named(9), "the cube's pure red is bright red");
        assert_eq!(indexed(244), named(8), "a middle grey");
        assert_eq!(nearest(250, 250, 250), named(15));
        assert_eq!(indexed(60_000), nearest(238, 238, 238), "out of range is the last grey");
    }
}
