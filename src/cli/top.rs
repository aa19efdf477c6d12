//! `status --watch`: the fleet, live, with keys to steer it.

use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, TableState, Wrap};

use crate::cli::approve;
use crate::cli::client::Client;
use crate::cli::exit_code::ExitCode;
use crate::cli::screen::{colour, state_colour};
use crate::cli::table::{Naming, by_attention, cells, count, headline, short_duration};
use crate::control::api::Selected;
use crate::control::approve::Approval;
use mirrorball_core::data::awaiting::Awaiting;
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::status::{MirrorStatus, Status};

/// Between two looks at the keyboard, and two points of a lag's curve.
const TICK: Duration = Duration::from_millis(500);

/// Points of a curve.
const POINTS: usize = 12;

const KEYS: &str = "q quit  / filter  s sort  enter details  p pause  r resume  w walk  a approve";

/// Draws until a person has seen enough.
pub fn watch(client: &Client) -> anyhow::Result<ExitCode> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        anyhow::bail!("--watch needs a terminal; without it, `status` writes once");
    }
    let statuses = poll(client.clone());
    let mut terminal = ratatui::try_init()?;
    let mut app = App::default();
    let ended = loop {
        for polled in statuses.try_iter() {
            app.handle_polled(polled);
        }
        if let Err(error) = terminal.draw(|frame| app.draw(frame)) {
            break Err(error.into());
        }
        match event::poll(TICK) {
            Ok(false) => app.handle_tick(),
            Ok(true) => match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    match app.handle_key(key) {
                        Some(Action::Quit) => break Ok(ExitCode::Ok),
                        Some(Action::Post(route, id)) => app.note_done(route, &id, client),
                        Some(Action::Show(id)) => app.handle_shown(&id, approve::show(client, &id)),
                        Some(Action::Approve(approval)) => {
                            app.message = match client.post("/approve", &approval) {
                                Ok(_) => "approved".into(),
                                Err(error) => error.to_string(),
                            };
                        }
                        None => (),
                    }
                }
                Ok(_) => (),
                Err(error) => break Err(error.into()),
            },
            Err(error) => break Err(error.into()),
        }
    };
    ratatui::restore();
    ended
}

/// Asks again and again, in a thread that ends with the program.
fn poll(client: Client) -> Receiver<Result<Status, String>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut revision = 0;
        loop {
            let polled = client.get::<Status>(&format!("/status?since={revision}"));
            let polled = polled.map_err(|error| error.to_string());
            let is_lost = polled.is_err();
            revision = polled.as_ref().map_or(0, |status| status.revision);
            if sender.send(polled).is_err() {
                return;
            }
            // A busy daemon changes more often than anybody can read.
            wait(if is_lost { TICK } else { TICK / 5 });
        }
    });
    receiver
}

#[expect(clippy::disallowed_methods, reason = "a thread without actors")]
fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

/// From so many columns on there is room for the curves.
const WIDE: u16 = 110;

/// What a key asks for.
#[derive(Debug, PartialEq)]
enum Action {
    Quit,
    /// Ask this of the daemon for this mirror.
    Post(&'static str, MirrorId),
    /// Show what waits for approval on this mirror.
    Show(MirrorId),
    /// Approve what was shown.
    Approve(Approval),
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Order {
    #[default]
    Attention,
    Lag,
    Name,
}

/// What is on the screen.
#[derive(Default)]
struct App {
    status: Status,
    /// Lags of the last ticks, in seconds.
    lags: BTreeMap<MirrorId, VecDeque<f64>>,
    table: TableState,
    filter: String,
    is_typing: bool,
    order: Order,
    has_details: bool,
    /// Approval asked for, and not confirmed.
    asks: Option<Approval>,
    message: String,
    /// Why there is no newer status.
    lost: Option<String>,
}

impl App {
    fn handle_polled(&mut self, polled: Result<Status, String>) {
        match polled {
            Ok(status) => {
                self.lost = None;
                let is_first = self.status.revision == 0;
                self.keep_selected(|app| app.status = status);
                if is_first {
                    self.table.select_first();
                }
            }
            Err(why) => self.lost = Some(why),
        }
    }

    /// Rows may move; the one that keys are about stays the same mirror.
    fn keep_selected(&mut self, change: impl FnOnce(&mut Self)) {
        let selected = self.selected().map(|mirror| mirror.id.clone());
        change(self);
        let at = selected.and_then(|id| self.rows().iter().position(|it| it.id == id));
        if at.is_some() {
            self.table.select(at);
        }
    }

    fn handle_tick(&mut self) {
        let status = &self.status;
        self.lags.retain(|id, _| status.mirrors.iter().any(|mirror| mirror.id == *id));
        for mirror in &status.mirrors {
            let lags = self.lags.entry(mirror.id.clone()).or_default();
            lags.push_back(mirror.lag_seconds);
            if lags.len() > POINTS {
                lags.pop_front();
            }
        }
    }

    fn handle_key(&mut self, key: KeyEvent) -> Option<Action> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if key.code == KeyCode::Char('c') && is_control {
            return Some(Action::Quit);
        }
        if let Some(approval) = self.asks.take() {
            self.message.clear();
            return (key.code == KeyCode::Char('y')).then_some(Action::Approve(approval));
        }
        if self.is_typing {
            self.type_filter(key.code);
            return None;
        }
        self.message.clear();
        let selected = self.selected().map(|mirror| mirror.id.clone());
        match key.code {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('j') | KeyCode::Down => self.table.select_next(),
            KeyCode::Char('k') | KeyCode::Up => self.table.select_previous(),
            KeyCode::Home => self.table.select_first(),
            KeyCode::End => self.table.select_last(),
            KeyCode::PageDown => self.table.scroll_down_by(10),
            KeyCode::PageUp => self.table.scroll_up_by(10),
            KeyCode::Enter => self.has_details = !self.has_details,
            // One thing after the other, and the keys stay about the same mirror.
            KeyCode::Esc if self.has_details => self.has_details = false,
            KeyCode::Esc => self.keep_selected(|app| app.filter.clear()),
            KeyCode::Char('s') => self.keep_selected(|app| {
                app.order = match app.order {
                    Order::Attention => Order::Lag,
                    Order::Lag => Order::Name,
                    Order::Name => Order::Attention,
                };
            }),
            KeyCode::Char('p') => return Some(Action::Post("/pause", selected?)),
            KeyCode::Char('r') => return Some(Action::Post("/resume", selected?)),
            KeyCode::Char('w') => return Some(Action::Post("/walk", selected?)),
            KeyCode::Char('a') => return Some(Action::Show(selected?)),
            _ => (),
        }
        None
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            _ => (),
        }
        self.table.select_first();
    }

    /// What waits on a mirror was shown to this program: now it asks the person about exactly that.
    fn handle_shown(&mut self, id: &MirrorId, shown: anyhow::Result<Awaiting>) {
        self.message = match shown {
            Err(error) => error.to_string(),
            Ok(shown) if shown.lists.is_empty() && shown.halted.is_empty() => {
                format!("Nothing waits for approval on {id}")
            }
            Ok(shown) => {
                self.asks = Some(Approval::of(&shown));
                format!("Approve {}? y/n", approve::summary(&shown))
            }
        };
    }

    fn note_done(&mut self, route: &str, id: &MirrorId, client: &Client) {
        let request = Selected { selectors: vec![id.to_string()] };
        self.message = match client.post(route, &request) {
            Ok(_) => format!("{}: {id}", route.trim_start_matches('/')),
            Err(error) => error.to_string(),
        };
    }

    /// The mirrors that are shown, in their order.
    fn rows(&self) -> Vec<&MirrorStatus> {
        let wanted = |mirror: &&MirrorStatus| {
            cells(mirror, Naming::Mirror).iter().any(|cell| cell.contains(&self.filter))
        };
        let mut rows: Vec<&MirrorStatus> = self.status.mirrors.iter().filter(wanted).collect();
        match self.order {
            Order::Attention => rows.sort_by(|a, b| by_attention(a, b)),
            Order::Lag => rows.sort_by(|a, b| b.lag_seconds.total_cmp(&a.lag_seconds)),
            Order::Name => (),
        }
        rows
    }

    fn selected(&self) -> Option<&MirrorStatus> {
        self.rows().get(self.table.selected()?).copied()
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let head = headline(&self.status, Naming::Mirror);
        let details = self.has_details.then(|| self.selected().map(details)).flatten();
        let [top, middle, below, bottom] = Layout::vertical([
            Constraint::Length(head.lines().count() as u16 + 1),
            Constraint::Min(3),
            Constraint::Length(details.as_ref().map_or(0, |lines| lines.len() as u16 + 2)),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(head), top);
        let rows: Vec<Row<'_>> = self.rows().into_iter().map(|it| self.row(it)).collect();
        let names = self.rows().iter().map(|it| it.id.to_string().chars().count()).max();
        // Where there is little room it is for what happens.
        let points = if frame.area().width < WIDE { 0 } else { POINTS as u16 };
        let widths = [
            Constraint::Length(names.unwrap_or(0).clamp(6, 30) as u16),
            Constraint::Length(12),
            Constraint::Length(8),
            Constraint::Length(points),
            Constraint::Length(8),
            Constraint::Fill(4),
        ];
        let [name, state, lag, pending, what] = Naming::Mirror.head();
        let header = Row::new([name, state, lag, "", pending, what]);
        let table = Table::new(rows, widths)
            .header(header.style(Style::default().add_modifier(Modifier::BOLD)))
            .row_highlight_style(Style::default().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, middle, &mut self.table);
        if let Some(lines) = details {
            let lines: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
            let details = Paragraph::new(lines).wrap(Wrap { trim: false });
            frame.render_widget(details.block(Block::bordered()), below);
        }
        let line = match &self.lost {
            Some(why) => why.clone(),
            None if !self.message.is_empty() && !self.is_typing => self.message.clone(),
            None if self.is_typing || !self.filter.is_empty() => format!("/{}", self.filter),
            None => KEYS.into(),
        };
        frame.render_widget(Paragraph::new(line), bottom);
    }

    fn row(&self, mirror: &MirrorStatus) -> Row<'static> {
        let [name, state, lag, pending, what] = cells(mirror, Naming::Mirror);
        let state = Cell::from(state).style(colour(state_colour(mirror.state)));
        let curve = self.lags.get(&mirror.id).map(curve).unwrap_or_default();
        Row::new([name.into(), state, lag.into(), curve.into(), pending.into(), what.into()])
    }
}

/// Each value as a bar, the largest as a whole one.
fn curve(values: &VecDeque<f64>) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(1.0, f64::max);
    let bar = |value: &f64| {
        BARS[(1..9).rev().find(|part| *value > most * (*part as f64 - 1.0) / 8.0).unwrap_or(0)]
    };
    values.iter().map(bar).collect()
}

fn details(mirror: &MirrorStatus) -> Vec<String> {
    let mut lines = vec![
        format!("{} → {}", mirror.id, mirror.target),
        format!(
            "epoch {} of {}, {} to send, {} sent",
            mirror.epoch,
            mirror.head,
            count(mirror.pending_paths, "path", "paths"),
            bytesize::ByteSize::b(mirror.bytes_sent)
        ),
    ];
    lines.extend(mirror.last_success.as_ref().map(|at| format!("last success {at}")));
    lines.extend(mirror.last_error.as_ref().map(|why| format!("last error: {why}")));
    let retry = mirror.retry_in_seconds.map(short_duration);
    lines.extend(retry.map(|pause| format!("next try in {pause}")));
    let stuck = mirror.stuck.iter().take(5);
    lines.extend(stuck.map(|stuck| format!("stuck: {}: {}", stuck.path, stuck.reason)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn app() -> App {
        let mirror = |id: &str, state: &str, lag: f64| {
            let (root, host) = id.split_once('@').unwrap();
            serde_json::json!({
                "id": id, "root": root, "host": host, "target": format!("{host}::m"), "state": state,
                "pending_paths": 1, "lag_seconds": lag, "epoch": 3, "head": 4, "owes_walk": false,
                "stuck": [], "stuck_total": 0, "repeated_paths": 0, "held_deletions": 7, "last_check": null,
                "last_error": (lag > 0.0).then_some("Connection refused"), "retry_in_seconds": null,
                "quiet_until": null, "hook_error": null, "repeats_in_seconds": null, "last_success": null, "progress": null, "walk": null, "pushes": 1, "walks": 1, "failures": 0,
                "bytes_sent": 10, "restarts": 0,
            })
        };
        let mirrors = [mirror("s@a", "in-sync", 0.0), mirror("s@b", "retrying", 12.0)];
        let mirrors = serde_json::from_value(serde_json::json!(mirrors)).unwrap();
        let mut app = App::default();
        app.handle_polled(Ok(Status { revision: 1, mirrors, ..Status::default() }));
        app
    }

    fn id(text: &str) -> MirrorId {
        let (root, host) = text.split_once('@').unwrap();
        MirrorId::new(&root.into(), &host.into())
    }

    fn press(app: &mut App, keys: &str) -> Option<Action> {
        let mut action = None;
        for letter in keys.chars() {
            let code = if letter == '\n' { KeyCode::Enter } else { KeyCode::Char(letter) };
            action = app.handle_key(KeyEvent::new(code, KeyModifiers::NONE));
        }
        action
    }

    fn drawn(app: &mut App) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 16)).unwrap();
        terminal.draw(|frame| app.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn what_needs_attention_is_first_and_has_its_details() {
        let mut app = app();
        app.handle_tick();
        let screen = drawn(&mut app);
        assert!(screen.contains("1 of 2 in sync, worst 12.0s on s@b"), "{screen}");
        assert!(screen.find("s@b  ").unwrap() < screen.find("s@a  ").unwrap(), "{screen}");
        press(&mut app, "\n");
        assert!(drawn(&mut app).contains("last error: Connection refused"));
    }

    #[test]
    fn keys_act_on_the_selected_mirror_and_approval_is_asked_for() {
        let mut app = app();
        assert_eq!(press(&mut app, "p"), Some(Action::Post("/pause", id("s@b"))));
        assert_eq!(press(&mut app, "jr"), Some(Action::Post("/resume", id("s@a"))));
        assert_eq!(press(&mut app, "a"), Some(Action::Show(id("s@a"))));
        let list = serde_json::json!({
            "id": "s:3", "entries": 7, "names": 2, "first": [], "later_entries": 0, "later_names": 0,
        });
        let shown = serde_json::json!({ "lists": [list], "halted": [], "counting": [] });
        let shown: Awaiting = serde_json::from_value(shown).unwrap();
        app.handle_shown(&id("s@a"), Ok(shown.clone()));
        assert!(drawn(&mut app).contains("Approve 7 deletions (s:3)? y/n"));
        assert_eq!(press(&mut app, "n"), None);
        app.handle_shown(&id("s@a"), Ok(shown.clone()));
        assert_eq!(press(&mut app, "y"), Some(Action::Approve(Approval::of(&shown))));
        app.handle_shown(&id("s@a"), Ok(Awaiting::default()));
        assert!(drawn(&mut app).contains("Nothing waits for approval on s@a"));
        assert_eq!(press(&mut app, "y"), None);
        assert_eq!(press(&mut app, "/b\nw"), Some(Action::Post("/walk", id("s@b"))));
        assert_eq!(press(&mut app, "q"), Some(Action::Quit));
    }
}
