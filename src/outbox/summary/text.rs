//! A text in Markdown with a bound on its length, to which whole parts are added as long as there is room.

/// The text so far.
pub(super) struct Text {
    text: String,
    /// Number of characters that are left.
    room: usize,
}

impl Text {
    pub(super) fn new(most: usize) -> Self {
        Self { text: String::new(), room: most }
    }

    /// Adds a part, if there is room for all of it.
    pub(super) fn block(&mut self, part: &str) {
        let length = part.chars().count();
        if length <= self.room {
            self.text.push_str(part);
            self.room -= length;
        }
    }

    /// Adds a table, as many of its rows as there is room for. `total` counts also those that are not given.
    pub(super) fn table(&mut self, title: &str, head: &[&str], rows: &[Vec<String>], total: usize) {
        const ROOM_FOR_MORE: usize = 200;
        if rows.is_empty() {
            return;
        }
        let line = |cells: &mut dyn Iterator<Item = &str>| format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "));
        let mut part = format!("### {title}\n\n");
        part.push_str(&line(&mut head.iter().copied()));
        part.push_str(&line(&mut head.iter().map(|_| "---")));
        let mut length = part.chars().count();
        let mut shown = 0;
        for row in rows {
            let row = line(&mut row.iter().map(String::as_str));
            length += row.chars().count();
            if length + ROOM_FOR_MORE > self.room {
                break;
            }
            part.push_str(&row);
            shown += 1;
        }
        if shown < total {
            part.push_str(&format!("\n{} more are on the page of the build.\n", total - shown));
        }
        part.push('\n');
        self.block(&part);
    }

    /// Returns the text, or another one if nothing was added.
    pub(super) fn finish(self, otherwise: &str) -> String {
        if self.text.is_empty() { otherwise.to_owned() } else { self.text }
    }
}
