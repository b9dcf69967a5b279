//! The logs as they arrive, for a terminal or a file: headings of the phases in place of Travis's marks.

use std::io::{BufWriter, Write};
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::table::{Colour, paint};
use crate::domain::in_words;
use crate::log_view::{Checkpoint, Op, Renderer, line_coloured, line_plain};

/// The duration from which a command gets a line with its time.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// The writer of the logs.
pub(in crate::cli) struct View {
    out: BufWriter<Box<dyn Write + Send>>,
    colours: bool,
    /// The terminal's columns; `None` when the output is not a terminal.
    columns: Option<usize>,
    renderer: Renderer,
    /// The phase whose heading was written last.
    phase: String,
    folds: usize,
    after_blank: bool,
}

impl View {
    pub(in crate::cli) fn new(out: Box<dyn Write + Send>, colours: bool, columns: Option<usize>) -> Self {
        let (out, renderer) = (BufWriter::new(out), renderer(colours));
        Self { out, colours, columns, renderer, phase: String::new(), folds: 0, after_blank: true }
    }

    pub(in crate::cli) fn colours(&self) -> bool {
        self.colours
    }

    pub(in crate::cli) fn columns(&self) -> Option<usize> {
        self.columns
    }

    /// Writes a text of Trainyard itself.
    pub(in crate::cli) fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.write(text)?;
        self.after_blank = text.ends_with("\n\n");
        self.flush()
    }

    /// Begins a job's log with a heading.
    pub(in crate::cli) fn begin_job(&mut self, title: &str) -> anyhow::Result<()> {
        self.renderer = renderer(self.colours);
        self.phase.clear();
        self.folds = 0;
        let gap = if self.after_blank { "" } else { "\n" };
        let title = paint(&format!("━━ {title}"), Colour::Bold, self.colours);
        self.say(&format!("{gap}{title}\n"))
    }

    /// Takes the next bytes of the job's log, and writes the lines that are complete. Docker also holds a line back
    /// until it ends, so that a progress bar shows its last state.
    pub(in crate::cli) fn feed(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let ops = self.renderer.feed(bytes);
        self.show(ops)?;
        self.flush()
    }

    /// Ends the job's log.
    pub(in crate::cli) fn end_job(&mut self) -> anyhow::Result<()> {
        let renderer = std::mem::replace(&mut self.renderer, renderer(self.colours));
        self.show(renderer.finish())?;
        self.flush()
    }

    fn show(&mut self, ops: Vec<Op>) -> anyhow::Result<()> {
        for op in ops {
            match op {
                Op::Open { name, text, .. } => {
                    if self.folds == 0 {
                        self.heading(phase_of(&name))?;
                    }
                    self.folds += 1;
                    self.line(&text)?;
                }
                Op::Close => self.folds = self.folds.saturating_sub(1),
                // Outside of folds, a script times only the commands of the phase `script`.
                Op::Line { text, timed, .. } => {
                    if timed && self.folds == 0 {
                        self.heading("script")?;
                    }
                    self.line(&text)?;
                }
                Op::Took { took, .. } if took >= WORTH_TELLING => {
                    let text = paint(&format!("({})", in_words(took)), Colour::Faint, self.colours);
                    self.line(&text)?;
                }
                Op::Took { .. } => {}
            }
        }
        Ok(())
    }

    fn heading(&mut self, phase: &str) -> anyhow::Result<()> {
        if self.phase == phase {
            return Ok(());
        }
        phase.clone_into(&mut self.phase);
        if !self.after_blank {
            self.line("")?;
        }
        let heading = paint(&format!("── {phase}"), Colour::Bold, self.colours);
        self.line(&heading)
    }

    fn line(&mut self, text: &str) -> anyhow::Result<()> {
        self.write(text)?;
        self.write("\n")?;
        self.after_blank = text.is_empty();
        Ok(())
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        self.out.write_all(text.as_bytes()).context("cannot write the log")
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.out.flush().context("cannot write the log")
    }
}

fn renderer(colours: bool) -> Renderer {
    Renderer::new(Checkpoint::begin(1), if colours { line_coloured } else { line_plain })
}

/// Returns the phase that a fold belongs to: `install.2` is a command of `install`.
fn phase_of(fold: &str) -> &str {
    if fold == "git.checkout" {
        return "checkout";
    }
    match fold.rsplit_once('.') {
        Some((phase, number)) if number.bytes().all(|b| b.is_ascii_digit()) => phase,
        _ => fold,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sheet(Arc<Mutex<Vec<u8>>>);

    impl Write for Sheet {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(colours: bool, pieces: &[&str]) -> String {
        let sheet = Sheet::default();
        let mut view = View::new(Box::new(sheet.clone()), colours, None);
        view.begin_job("Job 1").expect("written");
        for piece in pieces {
            view.feed(piece.as_bytes()).expect("written");
        }
        view.end_job().expect("written");
        let bytes = sheet.0.lock().expect("nobody panics").clone();
        String::from_utf8(bytes).expect("text")
    }

    const LOG: &str = "travis_fold:start:install.1\r\x1b[0Ktravis_time:start:a\r\x1b[0K$ pip install x\n\
        travis_time:end:a:start=1,finish=2,duration=2000000000,event=install\r\x1b[0Ktravis_fold:end:install.1\r\x1b[0K\
        travis_fold:start:install.2\r\x1b[0K$ true\ntravis_fold:end:install.2\r\x1b[0K\
        travis_time:start:b\r\x1b[0K$ pytest\n\x1b[32mok\x1b[0m \x1b]0;title\x07done\n\
        travis_time:end:b:start=1,finish=2,duration=2000,event=script\r\x1b[0K";

    #[test]
    fn marks_become_headings_and_a_file_has_no_colours() {
        let plain = "━━ Job 1\n\n── install\n$ pip install x\n(2 s)\n$ true\n\n── script\n$ pytest\nok done\n";
        assert_eq!(written(false, &[LOG]), plain);
        let coloured = written(true, &[LOG]);
        let (begin, end) = LOG.split_at(LOG.len() / 2);
        assert_eq!(written(true, &[begin, end]), coloured, "pieces make no difference");
        assert!(coloured.contains("\x1b[32mok\x1b[0m done\n") && !coloured.contains("title"), "{coloured:?}");
    }
}
