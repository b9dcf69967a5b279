//! The view: a pure function of the state.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table, TableState, Wrap};

use super::chart::Curve;
use super::state::State;
use crate::cli::losses::tone;
use crate::cli::remote::answers::{Mark, rough};
use crate::cli::table::Colour;
use crate::lora::series::{counted, trend};

/// Number of columns from which the jobs stand beside the log, and not above it.
const WIDE: u16 = 76;
/// Number of lines of the right side from which there is room for a chart.
const HIGH: u16 = 14;
/// Maximum number of lines of the jobs above the log, with the border.
const MAX_JOBS: u16 = 8;

/// Draws the state.
pub(super) fn view(frame: &mut Frame<'_>, state: &State) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(heading(state), head);
    frame.render_widget(footer(state), foot);
    let count = u16::try_from(state.build().jobs.len()).unwrap_or(u16::MAX);
    let (jobs, side) = if body.width >= WIDE {
        let [jobs, side] = Layout::horizontal([Constraint::Percentage(36), Constraint::Min(0)]).areas(body);
        (jobs, side)
    } else {
        let lines = count.saturating_add(2).min(MAX_JOBS);
        let [jobs, side] = Layout::vertical([Constraint::Length(lines), Constraint::Min(0)]).areas(body);
        (jobs, side)
    };
    draw_jobs(frame, state, jobs);
    let curve = Curve::of(state.series()).filter(|_| side.height >= HIGH);
    let Some(curve) = curve else { return draw_log(frame, state, side) };
    let [chart, log] = Layout::vertical([Constraint::Percentage(45), Constraint::Min(0)]).areas(side);
    let trend = trend(state.series());
    let wanted = state.series().steps_wanted.map(|wanted| format!(" of {}", counted(wanted))).unwrap_or_default();
    let steps = format!("{} steps{wanted}", counted(state.series().steps_seen));
    let title = format!("Loss of {}: {}, {steps}", job_name(state), trend.name());
    frame.render_widget(curve.widget(state.series(), title, style(tone(trend))), chart);
    draw_log(frame, state, log);
}

fn heading(state: &State) -> Paragraph<'_> {
    let build = state.build();
    let mark = build.mark();
    let took = build.took(state.now());
    let mut first = vec![build.title().bold(), "  ".into(), painted(&mark), format!("  {took}").dim()];
    if build.is_unapproved() {
        first.push("  a lets it run".yellow());
    }
    let facts = [build.reference(), build.short_sha(), build.person().to_owned()];
    let facts: Vec<String> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
    let second = vec![Span::raw(facts.join(" · ")).dim(), Span::raw(format!("  {}", build.subject()))];
    Paragraph::new(vec![Line::from(first), Line::from(second)])
}

fn footer(state: &State) -> Line<'_> {
    let (words, is_urgent) = state.words();
    match words.is_empty() {
        false if is_urgent => Line::from(words.yellow().bold()),
        false => Line::from(words),
        true => Line::from("↑↓ job  PgUp PgDn End log  r restart  c cancel  R C all  o open  q quit").dim(),
    }
}

fn draw_jobs(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let build = state.build();
    let rows = build.jobs.iter().map(|job| {
        let mark = job.mark();
        let label = job.label();
        let words = if label.is_empty() { mark.words.clone() } else { label };
        Row::new([
            Span::raw(job.number.to_string()),
            Span::styled(mark.sign, style(mark.colour)),
            Span::raw(words),
            Span::raw(rough(&job.took(state.now())).to_owned()).dim(),
        ])
    });
    let widths = [
        Constraint::Length(number_columns(state)),
        Constraint::Length(1),
        Constraint::Min(4),
        Constraint::Length(time_columns(state)),
    ];
    let table = Table::new(rows, widths)
        .block(Block::bordered().title(Line::from(" Jobs ").bold()))
        .row_highlight_style(Style::new().reversed());
    let chosen = (!build.jobs.is_empty()).then_some(state.chosen());
    frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(chosen));
}

fn time_columns(state: &State) -> u16 {
    let most = state.build().jobs.iter().map(|job| rough(&job.took(state.now())).len()).max();
    u16::try_from(most.unwrap_or(0)).unwrap_or(0).min(12)
}

fn number_columns(state: &State) -> u16 {
    let most = state.build().jobs.iter().map(|job| job.number.to_string().len()).max();
    u16::try_from(most.unwrap_or(1)).unwrap_or(1).min(6)
}

fn draw_log(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let name = if state.chosen_job().is_some() { job_name(state) } else { "Log".to_owned() };
    let mut title = vec![format!(" {name} ").bold()];
    if let Some(job) = state.chosen_job() {
        let mark = job.mark();
        title.extend([painted(&mark), " ".into()]);
        title.extend((!job.why().is_empty()).then(|| format!("{} ", job.why()).into()));
        title.extend(state.is_scrolled().then(|| "· End goes on ".yellow()));
    }
    let block = Block::bordered().title(Line::from(title));
    let inner = block.inner(area);
    let lines = state.log(inner.height.into()).into_iter().map(Line::from).collect::<Vec<_>>();
    frame.render_widget(block, area);
    if lines.is_empty() {
        let words = if state.chosen_job().is_some() { "No log yet." } else { "The build has no jobs." };
        frame.render_widget(Paragraph::new(words).dim().wrap(Wrap { trim: true }), inner);
    } else {
        frame.render_widget(Paragraph::new(lines), inner);
    }
}

/// Returns the name of the chosen job: `12.3`.
fn job_name(state: &State) -> String {
    state.chosen_job().map(|job| format!("{}.{}", state.build().number, job.number)).unwrap_or_default()
}

fn painted(mark: &Mark) -> Span<'static> {
    Span::styled(mark.text(), style(mark.colour))
}

/// Returns the style of a colour: that of the terminal's own palette.
fn style(colour: Colour) -> Style {
    match colour {
        Colour::Red => Style::new().red().bold(),
        Colour::Green => Style::new().green().bold(),
        Colour::Yellow => Style::new().yellow().bold(),
        Colour::Bold => Style::new().bold(),
        Colour::Faint => Style::new().dim(),
    }
}
