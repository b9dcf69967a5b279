//! The terminal while the view has it. It gets its own screen back whatever happens: at the end, at an error, when the
//! program panics, and at signals, which end the loop.

use anyhow::Context as _;
use ratatui::DefaultTerminal;

use super::state::State;
use super::view::view;

/// The terminal, in raw mode and on its second screen.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    pub(super) fn open() -> anyhow::Result<Self> {
        // It also restores the terminal before a panic is printed.
        let terminal = ratatui::try_init().context("taking the terminal")?;
        Ok(Self { terminal })
    }

    pub(super) fn draw(&mut self, state: &State) -> anyhow::Result<()> {
        self.terminal.draw(|frame| view(frame, state)).context("drawing")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
