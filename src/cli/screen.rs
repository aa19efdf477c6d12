//! Showing a running plan: a live table on a terminal, a few lines in a log elsewhere.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, System};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Cell, Gauge, Paragraph, Row, Table};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use slog::{Logger, info};

use crate::actors::board::BoardActor;
use crate::actors::message::StatusSince;
use crate::cli::exit_code::ExitCode;
use crate::cli::logging::LastLines;
use crate::cli::table::{self, Naming};
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::name::elide;
use mirrorball_core::data::status::{MirrorState, Status};

/// Between two pictures, at least.
const FRAME: Duration = Duration::from_millis(100);

/// Rows of mirrors on a terminal; the rest is counted.
const ROWS_MAX: usize = 30;

/// The code of an ended system.
pub fn code(code: i32) -> ExitCode {
    match code {
        0 => ExitCode::Ok,
        1 => ExitCode::Failed,
        _ => ExitCode::Software,
    }
}

/// Logs when a mirror has come to be in sync, after its start or after trouble, which the actors log
/// themselves. Never ends.
pub async fn narrate(board: Addr<BoardActor>, log: Logger) -> i32 {
    let mut in_sync: BTreeSet<MirrorId> = BTreeSet::new();
    let mut revision = 0;
    while let Ok(status) = board.send(StatusSince { revision }).await {
        revision = status.revision;
        for mirror in &status.mirrors {
            match mirror.state {
                MirrorState::InSync if in_sync.insert(mirror.id.clone()) => {
                    info!(log, "In sync"; "mirror" => %mirror.id);
                }
                // An everyday push is no news.
                MirrorState::InSync | MirrorState::Pushing => (),
                MirrorState::Waiting
                | MirrorState::Walking
                | MirrorState::Retrying
                | MirrorState::Paused
                | MirrorState::Quiet
                | MirrorState::Halted => {
                    in_sync.remove(&mirror.id);
                }
            }
        }
    }
    std::future::pending().await
}

/// Whether one pass has been made: each mirror is equal, or has failed. With how many failed.
pub fn pass_made(status: &Status) -> Option<usize> {
    let failed = |mirror: &&mirrorball_core::data::status::MirrorStatus| {
        mirror.failures > 0
            || mirror.stuck_total > 0
            || mirror.last_error.is_some()
            || mirror.state == MirrorState::Halted
    };
    let made =
        status.mirrors.iter().all(|mirror| mirror.state == MirrorState::InSync || failed(&mirror));
    made.then(|| status.mirrors.iter().filter(failed).count())
}

/// What a screen is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Goes on until the daemon is told to end.
    Live,
    /// Ends when one pass has been made.
    Pass,
}

/// Waits for the end of one pass without showing anything.
pub async fn wait_for_pass(board: Addr<BoardActor>) -> (Arc<Status>, i32) {
    let mut revision = 0;
    while let Ok(status) = board.send(StatusSince { revision }).await {
        if let Some(failed) = pass_made(&status) {
            return (status, i32::from(failed > 0));
        }
        revision = status.revision;
    }
    std::future::pending().await
}

/// Draws the table below what the terminal shows already, until the end.
pub async fn draw(board: Addr<BoardActor>, lines: LastLines, show: Show) -> i32 {
    let mut terminal = None;
    let mut lines_shown = Lines::default();
    let mut revision = 0;
    loop {
        // Lags grow while nothing happens.
        let news = board.send(StatusSince { revision });
        let status = match tokio::time::timeout(Duration::from_secs(1), news).await {
            Ok(Ok(status)) => status,
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => match board.send(StatusSince { revision: 0 }).await {
                Ok(status) => status,
                Err(_) => return std::future::pending().await,
            },
        };
        revision = status.revision;
        let shown = lines.lines();
        match terminal.get_or_insert_with(|| open_terminal(&status).ok().map(Screen)) {
            Some(Screen(terminal)) => {
                drop(terminal.draw(|frame| picture(frame, &status, &shown, show)));
            }
            // A terminal that does not say where its cursor is gets lines instead of a picture.
            None => lines_shown.say(&status),
        }
        if show == Show::Pass
            && let Some(failed) = pass_made(&status)
        {
            return i32::from(failed > 0);
        }
        tokio::time::sleep(FRAME).await;
        if System::try_current().is_none() {
            return 0;
        }
    }
}

/// The table, each time that a mirror's state is another.
#[derive(Default)]
struct Lines(Vec<MirrorState>);

impl Lines {
    fn say(&mut self, status: &Status) {
        let now: Vec<MirrorState> = status.mirrors.iter().map(|mirror| mirror.state).collect();
        if now != self.0 {
            self.0 = now;
            crate::cli::say(&table::text(status, Naming::Target, None));
        }
    }
}

/// A terminal with a picture. What comes after it goes below.
struct Screen(Terminal<CrosstermBackend<io::Stdout>>);

impl Drop for Screen {
    fn drop(&mut self) {
        let bottom = self.0.get_frame().area().bottom().saturating_sub(1);
        // A terminal that is gone needs no order.
        drop(self.0.set_cursor_position((0, bottom)));
        drop(self.0.show_cursor());
        crate::cli::say("");
    }
}

fn open_terminal(status: &Status) -> io::Result<Terminal<CrosstermBackend<io::Stdout>>> {
    let rows = status.mirrors.len().min(ROWS_MAX) as u16;
    let headlines = 2 + status.roots.len().min(4) as u16;
    let viewport = Viewport::Inline(rows + headlines + 6);
    Terminal::with_options(CrosstermBackend::new(io::stdout()), TerminalOptions { viewport })
}

fn picture(frame: &mut Frame, status: &Status, lines: &[String], show: Show) {
    let rows = status.mirrors.len().min(ROWS_MAX) as u16 + 1;
    let headline = table::headline(status, Naming::Target);
    let height = headline.lines().count() as u16;
    let [top, gauge, middle, bottom] = Layout::vertical([
        Constraint::Length(height),
        Constraint::Length(u16::from(show == Show::Pass)),
        Constraint::Length(rows),
        Constraint::Min(0),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(headline).style(styled(Modifier::BOLD, None)), top);
    if show == Show::Pass {
        let bar = Gauge::default().gauge_style(colour(Color::Green)).ratio(overall(status));
        frame.render_widget(bar, gauge);
    }
    frame.render_widget(mirror_table(status, usize::from(frame.area().width)), middle);
    let text: String = lines.iter().map(String::as_str).collect();
    frame.render_widget(Paragraph::new(text).style(styled(Modifier::DIM, None)), bottom);
}

fn mirror_table(status: &Status, width: usize) -> Table<'static> {
    let names = status.mirrors.iter().map(|mirror| mirror.target.chars().count());
    let name_width = names.max().unwrap_or(6).clamp(6, 40);
    let room = width.saturating_sub(name_width + 12 + 7 + 8 + 4 * 2);
    let row = |mirror: &mirrorball_core::data::status::MirrorStatus| {
        let [name, state, lag, pending, what] = table::cells(mirror, Naming::Target);
        let name = elide(&name, name_width);
        let state = Cell::from(state).style(colour(state_colour(mirror.state)));
        let what = Cell::from(elide(&what, room));
        Row::new([Cell::from(name), state, Cell::from(lag), Cell::from(pending), what])
    };
    let widths = [
        Constraint::Length(name_width as u16),
        Constraint::Length(12),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    Table::new(status.mirrors.iter().take(ROWS_MAX).map(row), widths)
        .header(Row::new(Naming::Target.head()).style(styled(Modifier::UNDERLINED, None)))
        .column_spacing(2)
}

/// Part of a pass that is done, over all mirrors.
fn overall(status: &Status) -> f64 {
    if status.mirrors.is_empty() {
        return 1.0;
    }
    let part = |mirror: &mirrorball_core::data::status::MirrorStatus| match mirror.state {
        MirrorState::InSync => 1.0,
        _ if mirror.failures > 0 => 1.0,
        _ => f64::from(mirror.progress.unwrap_or(0.0)),
    };
    let done: f64 = status.mirrors.iter().map(part).sum();
    (done / status.mirrors.len() as f64).clamp(0.0, 1.0)
}

pub(super) fn state_colour(state: MirrorState) -> Color {
    match state {
        MirrorState::InSync => Color::Green,
        MirrorState::Walking | MirrorState::Pushing => Color::Cyan,
        MirrorState::Waiting | MirrorState::Retrying | MirrorState::Paused | MirrorState::Quiet => {
            Color::Yellow
        }
        MirrorState::Halted => Color::Red,
    }
}

/// Colours only where nobody has asked for none.
pub(super) fn colour(colour: Color) -> Style {
    styled(Modifier::empty(), Some(colour))
}

fn styled(modifier: Modifier, colour: Option<Color>) -> Style {
    let style = Style::default().add_modifier(modifier);
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match colour.filter(|_| !no_colour) {
        Some(colour) => style.fg(colour),
        None => style,
    }
}
