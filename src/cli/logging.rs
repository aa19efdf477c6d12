//! Making the log: for a terminal, as JSON, or into the few lines below the live table.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use slog::{Drain, Level, LevelFilter, Logger, o};
use slog_async::{Async, AsyncGuard, OverflowStrategy};

use mirrorball_core::data::plan::{LogFormat, LogLevel, LogPlan};

/// Lines that the live table shows.
const LINES_SHOWN: usize = 5;

/// A log, and what keeps it going: when the guard is dropped, all is written.
pub struct Log {
    /// For everybody.
    pub logger: Logger,
    _guard: AsyncGuard,
}

/// The last lines of a log.
#[derive(Clone, Default)]
pub struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    /// Oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Write for LastLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(bytes);
        for piece in text.split_inclusive('\n') {
            match lines.back_mut().filter(|last| !last.ends_with('\n')) {
                Some(last) => last.push_str(piece),
                None => lines.push_back(piece.to_string()),
            }
        }
        while lines.len() > LINES_SHOWN {
            lines.pop_front();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A log as the plan has it; `verbose` raises the level.
pub fn from_plan(plan: &LogPlan, verbose: u8) -> anyhow::Result<Log> {
    let Some(path) = &plan.file else { return Ok(to_stderr(plan.level, plan.format, verbose)) };
    let level = level(plan.level, verbose);
    let file = File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("Cannot write the log to {}", path.display()))?;
    Ok(match plan.format {
        LogFormat::Terminal => {
            let decorator = slog_term::PlainSyncDecorator::new(file);
            build(slog_term::FullFormat::new(decorator).build(), level)
        }
        LogFormat::Json => build(slog_json::Json::default(file), level),
    })
}

/// A log on standard error; `verbose` raises the level.
pub fn to_stderr(level_plan: LogLevel, format: LogFormat, verbose: u8) -> Log {
    let level = level(level_plan, verbose);
    match format {
        LogFormat::Terminal if is_journal() => {
            let decorator = slog_term::PlainSyncDecorator::new(JournalLines(io::stderr()));
            let format = slog_term::FullFormat::new(decorator);
            build(format.use_custom_header_print(journal_header).build(), level)
        }
        LogFormat::Terminal => {
            let decorator = slog_term::TermDecorator::new().stderr().build();
            build(slog_term::FullFormat::new(decorator).build(), level)
        }
        LogFormat::Json => build(slog_json::Json::default(io::stderr()), level),
    }
}

/// Whether standard error leads to journald: see `$JOURNAL_STREAM` in `systemd.exec(5)`.
fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let found = rustix::fs::fstat(io::stderr());
    found.is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}

/// Gives each line of a record its level: journald takes lines for themselves.
struct JournalLines<W>(W);

impl<W: Write> Write for JournalLines<W> {
    /// One record, as the decorator writes it.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let level = record.get(..3).unwrap_or_default();
        let mut lines = record.strip_suffix(b"\n").unwrap_or(record).split(|byte| *byte == b'\n');
        let mut text = lines.next().unwrap_or_default().to_vec();
        for line in lines {
            text.extend([b"\n", level, line].concat());
        }
        text.push(b'\n');
        self.0.write_all(&text)?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// journald knows the time; the level it takes from the line's beginning, see `sd-daemon(3)`.
fn journal_header(
    _: &dyn slog_term::ThreadSafeTimestampFn<Output = io::Result<()>>,
    line: &mut dyn slog_term::RecordDecorator,
    record: &slog::Record<'_>,
    _: bool,
) -> io::Result<bool> {
    let priority = match record.level() {
        Level::Critical => 2,
        Level::Error => 3,
        Level::Warning => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    write!(line, "<{priority}>{}", record.msg())?;
    Ok(true)
}

/// A log whose last lines somebody shows.
pub fn to_lines(lines: LastLines, level_plan: LogLevel, verbose: u8) -> Log {
    let decorator = slog_term::PlainSyncDecorator::new(lines);
    build(slog_term::FullFormat::new(decorator).build(), level(level_plan, verbose))
}

fn build<D>(drain: D, level: Level) -> Log
where
    D: Drain<Ok = ()> + Send + 'static,
    D::Err: std::fmt::Debug,
{
    let drain = LevelFilter::new(drain, level).ignore_res();
    // Lines are never dropped: a log that is silent about losses is worth little.
    let (drain, guard) = Async::new(drain)
        .chan_size(1024)
        .overflow_strategy(OverflowStrategy::Block)
        .build_with_guard();
    Log { logger: Logger::root(drain.fuse(), o!()), _guard: guard }
}

fn level(level: LogLevel, verbose: u8) -> Level {
    let levels = [Level::Error, Level::Warning, Level::Info, Level::Debug, Level::Trace];
    levels[(level as usize + usize::from(verbose)).min(levels.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_for_journald_has_the_level_of_its_record() {
        let mut lines = JournalLines(Vec::new());
        lines.write_all(b"<3>It is refused, why: one\n<0>two\n").unwrap();
        lines.write_all(b"<6>good\n").unwrap();
        let text = String::from_utf8(lines.0).unwrap();
        assert_eq!(text, "<3>It is refused, why: one\n<3><0>two\n<6>good\n");
    }
}
