//! `mirror`: one tree to many targets without a configuration.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use clap::{ArgMatches, Args, ValueEnum};

use crate::actors::kit::Mode;
use crate::actors::message::StatusSince;
use crate::cli::exit_code::ExitCode;
use crate::cli::logging::{self, LastLines};
use crate::cli::screen::{self, Show};
use crate::cli::table::Naming;
use crate::cli::target::{self, HostOptions};
use crate::cli::{daemon, say, say_error, table};
use crate::config::fault::{Fault, Report};
use crate::config::file::{Control, File, Filter, HostLimits, Mirror, Root};
use crate::config::resolve;
use mirrorball_core::data::plan::{DeleteMode, LogFormat, LogLevel, Plan};
use mirrorball_core::data::rsync_options::RsyncOptions;
use mirrorball_core::data::status::MirrorStatus;

const TARGET_HELP: &str = "Where to: /path, [user@]host:path, [user@]host::module[/path] or \
                           rsync://[user@]host[:port]/module[/path]";

/// Arguments of `mirror`.
#[derive(Args, Debug)]
pub struct MirrorArgs {
    /// The tree to mirror; its contents go into each target
    source: PathBuf,
    #[arg(required = true, help = TARGET_HELP)]
    targets: Vec<String>,
    /// Make one pass, with a progress bar, and exit: 0 if all targets are equal then
    #[arg(long)]
    once: bool,
    /// Leave out what matches this rsync pattern; of these rules the first that matches decides
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Mirror what matches this rsync pattern
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out what matches the patterns in this file
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
    /// Mirror what matches the patterns in this file
    #[arg(long, value_name = "FILE")]
    include_from: Vec<PathBuf>,
    /// Quiet time before changes are pushed
    #[arg(long, value_name = "TIME", default_value = "50ms")]
    settle: String,
    /// Whether what is deleted in the source is deleted in the targets
    #[arg(long, value_name = "WHEN", default_value = "always")]
    delete: Delete,
    /// Hold deletions when the source has lost more entries than this within an hour. Default: half of what it held, at
    /// least 1000
    #[arg(long, value_name = "NUMBER")]
    max_delete: Option<i64>,
    /// File with the password for rsync daemons
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Private key for ssh
    #[arg(long, short, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// File of known host keys for ssh
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
    /// Port for ssh
    #[arg(long, short, value_name = "PORT")]
    port: Option<i64>,
    /// Give up a peer that is silent for this long
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// Bytes a second to each target, such as 10MiB/s
    #[arg(long, value_name = "RATE")]
    bandwidth: Option<String>,
    /// One more option for rsync, such as --rsync-option=--compress
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    rsync_option: Vec<String>,
    /// Answer `status`, `approve`, `flush`, `stop` and the like at this socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Which deletions reach the targets.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Delete {
    Never,
    Always,
}

/// Mirrors until told to end, or once.
///
/// `matches` are the same arguments as clap found them, for their order.
pub fn mirror(args: &MirrorArgs, matches: &ArgMatches, verbose: u8) -> anyhow::Result<ExitCode> {
    // Whatever happens, nothing of ours stays behind.
    let state = tempfile::Builder::new().prefix("mirrorball-").tempdir()?;
    let plan = match plan(args, matches, state.path()) {
        Ok(plan) => plan,
        Err(message) => {
            say_error(&message);
            return Ok(ExitCode::Usage);
        }
    };
    let on_terminal = std::io::stdout().is_terminal();
    let (mode, show) = if args.once { (Mode::Once, Show::Pass) } else { (Mode::Live, Show::Live) };
    let lines = LastLines::default();
    let log = if on_terminal {
        logging::to_lines(lines.clone(), LogLevel::Info, verbose)
    } else {
        let level = if args.once { LogLevel::Warning } else { LogLevel::Info };
        logging::to_stderr(level, LogFormat::Terminal, verbose)
    };
    let narrator = log.logger.clone();
    let source = args.source.clone();
    let code = daemon::run_plan(plan, None, mode, &log.logger, |running| {
        let board = running.board.clone();
        async move {
            let code = if on_terminal {
                screen::draw(board.clone(), lines, show).await
            } else if show == Show::Live {
                screen::narrate(board.clone(), narrator).await
            } else {
                let (status, code) = screen::wait_for_pass(board.clone()).await;
                say(&table::text(&status, Naming::Target, None));
                code
            };
            if show == Show::Pass
                && let Ok(status) = board.send(StatusSince { revision: 0 }).await
            {
                let held = status.mirrors.iter().filter(|mirror| mirror.held_deletions > 0);
                held.for_each(|mirror| say_error(&held_text(mirror, &source)));
            }
            code
        }
    })?;
    Ok(screen::code(code))
}

/// Deletions that a pass did not make, why, and what to do.
fn held_text(mirror: &MirrorStatus, source_path: &Path) -> String {
    let deletions = table::count(mirror.held_deletions, "deletion was", "deletions were");
    let (target, source) = (&mirror.target, source_path.display());
    let is_empty = std::fs::read_dir(source_path).is_ok_and(|mut it| it.next().is_none());
    if is_empty {
        return format!(
            "{deletions} not made in {target}, because {source} is empty. If that is intended, delete \
             the contents of the target yourself"
        );
    }
    let count = mirror.held_deletions;
    format!(
        "{deletions} not made in {target}, because they are more than --max-delete allows. Check that \
         it is the target of {source}. If they are intended, repeat with --max-delete {count}"
    )
}

/// The same plan as a configuration file would give, checked by the same rules.
fn plan(args: &MirrorArgs, matches: &ArgMatches, state_dir: &Path) -> Result<Plan, String> {
    let text = |path: &Path| {
        let absolute = absolute(path).map_err(|e| format!("Cannot use {}: {e}", path.display()))?;
        let text = absolute.to_str().map(String::from);
        text.ok_or_else(|| format!("The path {} is not UTF-8", path.display()))
    };
    let optional = |path: &Option<PathBuf>| path.as_deref().map(text).transpose();
    let options = HostOptions {
        password_file: optional(&args.password_file)?,
        identity: optional(&args.identity)?,
        known_hosts: optional(&args.known_hosts)?,
        port: args.port,
        rsync: RsyncOptions { extra: args.rsync_option.clone(), ..RsyncOptions::default() },
        limits: HostLimits {
            timeout: args.timeout.clone(),
            bandwidth: args.bandwidth.clone(),
            ..HostLimits::default()
        },
        ..HostOptions::default()
    };
    let mut hosts = BTreeMap::new();
    let mut mirrors = Vec::new();
    for target in &args.targets {
        let target = target::parse(target, &options)?;
        let mut name = target.name.clone();
        let mut number = 2;
        while hosts.contains_key(&name) {
            name = format!("{}-{number}", target.name);
            number += 1;
        }
        let delete = match args.delete {
            Delete::Never => DeleteMode::Never,
            Delete::Always => DeleteMode::Always,
        };
        mirrors.push(Mirror {
            host: Some(name.clone()),
            path: Some(target.path),
            delete: Some(delete),
            ..Mirror::default()
        });
        hosts.insert(name, target.host);
    }
    let file = |path: &PathBuf| text(path);
    let mut filters: Vec<(usize, Filter)> = Vec::new();
    filters.extend(indexed(matches, "include", &args.include, |p| Ok(Filter::Include(p.clone())))?);
    filters.extend(indexed(matches, "exclude", &args.exclude, |p| Ok(Filter::Exclude(p.clone())))?);
    let from = &args.include_from;
    filters.extend(indexed(matches, "include_from", from, |p| Ok(Filter::IncludeFrom(file(p)?)))?);
    let from = &args.exclude_from;
    filters.extend(indexed(matches, "exclude_from", from, |p| Ok(Filter::ExcludeFrom(file(p)?)))?);
    filters.sort_by_key(|(index, _)| *index);
    let filters = filters.into_iter().map(|(_, filter)| filter).collect();
    let name = args.source.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_owned()));
    let name =
        name.map_or_else(|| "root".into(), |name| target::plain_name(&name.to_string_lossy()));
    let settle = humantime::parse_duration(&args.settle).unwrap_or(Duration::from_millis(50));
    let root = Root {
        source: Some(text(&args.source)?),
        filters,
        settle: Some(args.settle.clone()),
        // A longer settle than the default's maximal age is what was asked for.
        max_age: Some(format!("{}ms", settle.as_millis().max(1000))),
        max_delete: args.max_delete,
        mirrors,
        ..Root::default()
    };
    let file = File {
        state_dir: Some(text(state_dir)?),
        control: Control { socket: optional(&args.socket)?, ..Control::default() },
        hosts,
        roots: BTreeMap::from([(name, root)]),
        ..File::default()
    };
    resolve_arguments(&file, args.socket.is_some())
}

/// The values of an option with their places on the command line.
fn indexed<'a, T>(
    matches: &ArgMatches,
    option: &str,
    values: &'a [T],
    filter: impl Fn(&'a T) -> Result<Filter, String>,
) -> Result<Vec<(usize, Filter)>, String> {
    let indices = matches.indices_of(option).into_iter().flatten();
    indices.zip(values).map(|(index, value)| Ok((index, filter(value)?))).collect()
}

/// A fault, in the words of the command line instead of a configuration's.
fn as_argument(fault: &Fault) -> String {
    let field = fault.key.rsplit('.').next().unwrap_or(&fault.key);
    let field = field.split('[').next().unwrap_or(field);
    let argument = match field {
        "source" => "SOURCE".to_string(),
        "path" | "address" | "user" | "mirrors" => "TARGET".to_string(),
        "Include" | "Exclude" | "IncludeFrom" | "ExcludeFrom" | "filters" => "filters".to_string(),
        "extra" => "--rsync-option".to_string(),
        other => format!("--{}", other.replace('_', "-")),
    };
    format!("error: {argument}: {}", fault.message)
}

fn resolve_arguments(file: &File, has_socket: bool) -> Result<Plan, String> {
    let mut report = Report::new(Path::new("mirror"), "");
    let plan = resolve::resolve(file, &mut report);
    match plan {
        Some(mut plan) if !report.has_faults() => {
            if !has_socket {
                plan.control.socket = None;
            }
            Ok(plan)
        }
        _ => {
            let faults: Vec<String> = report.into_faults().faults.iter().map(as_argument).collect();
            Err(faults.join("\n"))
        }
    }
}
