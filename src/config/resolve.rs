//! The file as written becomes the Plan as meant. Everything that is wrong goes to the report; where
//! something is, a stand-in keeps the looking going.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::fault::{Report, suggestion};
use crate::config::file::{self, File};
use crate::config::{overlap, rules, times};
use crate::transport::arguments::is_plain_for_shells;
use crate::transport::options::refusal;
use mirrorball_core::data::ids::{HostId, MirrorId, RootId};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::{
    ControlPlan, DeleteMode, HookPlan, HookSide, HostKind, HostPlan, LogFormat, LogLevel, LogPlan,
    MirrorPlan, Plan, RetryPlan, RootPlan, WatchMode,
};
use mirrorball_core::data::rsync_options::RsyncOptions;

/// A unix socket's path may have 107 bytes.
const SOCKET_PATH_MAX: usize = 107;

/// Makes the Plan; none if nothing can be made of the file. The report says whether it may be used.
pub fn resolve(file: &File, report: &mut Report) -> Option<Plan> {
    let state_dir =
        absolute(file.state_dir.as_deref().unwrap_or("/var/lib/mirrorball"), "state_dir", report);
    let socket = absolute(
        file.control.socket.as_deref().unwrap_or("/run/mirrorball/control.sock"),
        "control.socket",
        report,
    );
    if socket.as_os_str().len() > SOCKET_PATH_MAX {
        let limit =
            format!("The path is longer than {SOCKET_PATH_MAX} bytes, the limit for a socket");
        report.fault("control.socket", limit);
    }
    let listen = file.control.listen.as_deref().and_then(|text| {
        let parsed = text.parse();
        if parsed.is_err() {
            let expected = "Expected an address and a port, such as \"127.0.0.1:8731\"";
            report.fault("control.listen", format!("{expected}, found {text:?}"));
        }
        parsed.ok()
    });
    let group = file.control.group.as_deref().and_then(|group| group_of(group, report));
    if file.roots.is_empty() {
        report.fault("roots", "No root is given, so there is nothing to mirror");
    }
    let mut options = BTreeMap::new();
    let hosts: BTreeMap<HostId, HostPlan> = file
        .hosts
        .iter()
        .map(|(name, host)| {
            let (plan, rsync) = resolve_host(name, host, report);
            options.insert(name.clone(), rsync);
            (plan.id.clone(), plan)
        })
        .collect();
    let roots: BTreeMap<RootId, RootPlan> = file
        .roots
        .iter()
        .map(|(name, root)| {
            let plan = resolve_root(name, root, file, &hosts, &options, report);
            (plan.id.clone(), plan)
        })
        .collect();
    let plan = Plan {
        state_dir,
        control: ControlPlan { socket: Some(socket), group, listen },
        log: LogPlan {
            level: file.log.level.unwrap_or(LogLevel::Info),
            format: file.log.format.unwrap_or(LogFormat::Terminal),
            file: file.log.file.as_deref().map(|path| absolute(path, "log.file", report)),
        },
        pushes_max: at_least_one(file.limits.pushes_max, 32, "limits.pushes_max", report),
        walks_max: at_least_one(file.limits.walks_max, 2, "limits.walks_max", report),
        verify_rate: {
            let text = file.limits.verify_rate.as_deref().unwrap_or("32MiB/s");
            times::rate(text, "limits.verify_rate", report).unwrap_or(u64::MAX)
        },
        hosts,
        roots,
    };
    overlap::check(&plan, report);
    Some(plan)
}

/// The parts that every kind of host has.
struct Common<'a> {
    limits: &'a file::HostLimits,
    retry: &'a file::Retry,
    warm: Option<&'a str>,
    rsync: &'a RsyncOptions,
}

fn resolve_host(name: &str, host: &file::Host, report: &mut Report) -> (HostPlan, RsyncOptions) {
    let key = format!("hosts.{name}");
    check_name(name, &key, report);
    let (kind, common) = match host {
        file::Host::Rsyncd { address, port, user, password_file, limits, retry, warm, rsync } => {
            let password_file =
                password_file.as_deref().map(|path| secret_file(path, &key, report));
            let kind = HostKind::Rsyncd {
                address: address_of(address.as_deref(), &key, report),
                port: port_of(*port, &key, report).unwrap_or(873),
                user: user.as_deref().map(|user| user_of(user, &format!("{key}.user"), report)),
                password_file,
            };
            (kind, Common { limits, retry, warm: warm.as_deref(), rsync })
        }
        file::Host::Ssh { address, port, identity, known_hosts, limits, retry, warm, rsync } => {
            let whole = address.as_deref();
            let (user, machine) = match whole.and_then(|text| text.rsplit_once('@')) {
                Some((user, machine)) => (Some(user), Some(machine)),
                None => (None, whole),
            };
            let mut file = |path: &Option<String>, field| {
                path.as_deref().map(|path| readable(path, &format!("{key}.{field}"), report))
            };
            let (identity, known_hosts) =
                (file(identity, "identity"), file(known_hosts, "known_hosts"));
            let kind = HostKind::Ssh {
                user: user.map(|user| user_of(user, &format!("{key}.address"), report)),
                address: address_of(machine, &key, report),
                port: port_of(*port, &key, report),
                identity,
                known_hosts,
            };
            (kind, Common { limits, retry, warm: warm.as_deref(), rsync })
        }
        file::Host::Local { limits, retry, warm, rsync } => {
            (HostKind::Local, Common { limits, retry, warm: warm.as_deref(), rsync })
        }
    };
    check_extra(common.rsync, &key, report);
    let plan = HostPlan {
        id: name.into(),
        kind,
        pushes: at_least_one(common.limits.pushes, 2, &format!("{key}.limits.pushes"), report),
        bandwidth: times::bandwidth(common.limits, &format!("{key}.limits"), report),
        timeout: {
            let key = format!("{key}.limits.timeout");
            let timeout = duration(common.limits.timeout.as_deref(), "60s", &key, report);
            if timeout < Duration::from_secs(1) {
                report.fault(key, "Expected at least 1s, the smallest that rsync knows");
            }
            timeout
        },
        retry: retry(common.retry, &key, report),
        warm: duration(common.warm, "60s", &format!("{key}.warm"), report),
    };
    (plan, common.rsync.clone())
}

fn resolve_root(
    name: &str,
    root: &file::Root,
    file: &File,
    hosts: &BTreeMap<HostId, HostPlan>,
    options: &BTreeMap<String, RsyncOptions>,
    report: &mut Report,
) -> RootPlan {
    let key = format!("roots.{name}");
    check_name(name, &key, report);
    let id = RootId::from(name);
    if root.mirrors.is_empty() {
        report.fault(format!("{key}.mirrors"), "No mirror is given, so this root goes nowhere");
    }
    let root_key = key.clone();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut mirrors = Vec::new();
    for (index, mirror) in root.mirrors.iter().enumerate() {
        let key = format!("{key}.mirrors[{index}]");
        let Some(host_name) = mirror.host.as_deref() else {
            report.fault(format!("{key}.host"), "`host` is missing: name one of `hosts`");
            continue;
        };
        let Some(host) = hosts.get(&HostId::from(host_name)) else {
            let meant = suggestion(host_name, file.hosts.keys().map(String::as_str));
            let meant = meant.map(|m| format!("; did you mean {m:?}?")).unwrap_or_default();
            report.fault(format!("{key}.host"), format!("Unknown host {host_name:?}{meant}"));
            continue;
        };
        if let Some(first) = seen.insert(host_name, index) {
            report.fault(
                format!("{key}.host"),
                format!(
                    "Mirror {first} of this root is on the same host; a second directory there needs a \
                     host of another name"
                ),
            );
        }
        check_extra(&mirror.rsync, &key, report);
        let defaults = options.get(host_name).cloned().unwrap_or_default();
        mirrors.push(MirrorPlan {
            id: MirrorId::new(&id, &host.id),
            path: target_path(mirror.path.as_deref(), &host.kind, &key, report),
            delete: mirror.delete.unwrap_or(DeleteMode::Always),
            rsync: defaults.overridden_by(&mirror.rsync),
            quiet: times::quiet(&mirror.quiet, &key, report),
            hooks: hooks(&root.hooks, &root_key, &host.kind, report)
                .into_iter()
                .chain(hooks(&mirror.hooks, &key, &host.kind, report))
                .collect(),
        });
    }
    let settle = duration(root.settle.as_deref(), "50ms", &format!("{key}.settle"), report);
    let max_age = duration(root.max_age.as_deref(), "1s", &format!("{key}.max_age"), report);
    if root.max_age.is_some() && max_age < settle {
        report.fault(format!("{key}.max_age"), "Expected no less than `settle`");
    }
    RootPlan {
        id,
        source: source_of(root.source.as_deref(), &key, report),
        rules: rules::resolve(&root.filters, &key, report),
        settle,
        max_age: max_age.max(settle),
        open_quiet: duration(
            root.open_quiet.as_deref(),
            "2s",
            &format!("{key}.open_quiet"),
            report,
        ),
        max_delete: max_delete(root.max_delete, &key, report),
        max_delete_window: window(root.max_delete_window.as_deref(), &key, report),
        may_be_empty: root.may_be_empty,
        free_to_delete: free_to_delete(&root.free_to_delete, &key, report),
        marker: root.marker.clone().inspect(|marker| {
            if marker.is_empty() || marker.contains('/') || marker == "." || marker == ".." {
                let why = format!("Expected the name of a file in the source, found {marker:?}");
                report.fault(format!("{key}.marker"), why);
            }
        }),
        watch: match &root.watch {
            None | Some(file::Watch::Auto) => WatchMode::Auto,
            Some(file::Watch::Inotify) => WatchMode::Inotify,
            Some(file::Watch::Fanotify) => WatchMode::Fanotify,
            Some(file::Watch::Rescan(text)) => {
                let key = format!("{key}.watch");
                let interval = duration(Some(text), "60s", &key, report);
                if interval.is_zero() {
                    report.fault(key, "Expected more than nothing: it would never rest");
                }
                WatchMode::Rescan(interval)
            }
        },
        walk: root.walk.unwrap_or_default(),
        walk_at: times::set_times(root.walk_at.as_deref(), &format!("{key}.walk_at"), report),
        verify_every: root.verify_every.as_deref().map(|text| {
            let key = format!("{key}.verify_every");
            let every = duration(Some(text), "7d", &key, report);
            if every < Duration::from_secs(1) {
                report.fault(key, "Expected at least 1s between two checks");
            }
            every
        }),
        open_max: duration(root.open_max.as_deref(), "60s", &format!("{key}.open_max"), report),
        mirrors,
    }
}

fn max_delete(number: Option<i64>, key: &str, report: &mut Report) -> Option<u64> {
    let number = u64::try_from(number?).ok();
    if number.is_none() {
        report.fault(format!("{key}.max_delete"), "Expected a number from 0 upwards");
    }
    number
}

fn window(text: Option<&str>, key: &str, report: &mut Report) -> Duration {
    let key = format!("{key}.max_delete_window");
    let window = duration(text, "1h", &key, report);
    if window.is_zero() {
        report.fault(key, "Expected more than nothing: no loss would be seen");
    }
    window
}

/// Paths in a root. A slash in front stands for the root, as in filters; one at the end says nothing more.
fn free_to_delete(paths: &[String], key: &str, report: &mut Report) -> Vec<RelPath> {
    let mut resolved = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let inside = path.strip_prefix('/').unwrap_or(path);
        let inside = inside.strip_suffix('/').unwrap_or(inside);
        let why = match RelPath::parse(inside.as_bytes()) {
            Ok(inside) if !inside.is_root() => {
                resolved.push(inside);
                continue;
            }
            Ok(_) => "all of the root would be deleted without a question".into(),
            Err(error) => error.to_string(),
        };
        let expected = "Expected a path in the root, such as \"/cache/\"";
        report.fault(
            format!("{key}.free_to_delete[{index}]"),
            format!("{expected}, found {path:?}: {why}"),
        );
    }
    resolved
}

fn hooks(hooks: &[file::Hook], key: &str, host: &HostKind, report: &mut Report) -> Vec<HookPlan> {
    let mut resolved = Vec::new();
    for (index, hook) in hooks.iter().enumerate() {
        let key = format!("{key}.hooks[{index}]");
        if hook.run.first().is_none_or(String::is_empty) {
            report.fault(
                format!("{key}.run"),
                "Expected a program and its arguments, such as [\"nginx\", \"-s\", \"reload\"]",
            );
        }
        if hook.run.iter().any(|word| word.contains('\0')) {
            report.fault(format!("{key}.run"), "An argument can't hold a NUL byte");
        }
        let on = hook.on.unwrap_or_default();
        if on == HookSide::Host && !matches!(host, HostKind::Ssh { .. }) {
            report
                .fault(format!("{key}.on"), "Only a host that is reached by ssh can run a command");
        }
        resolved.push(HookPlan {
            run: hook.run.clone(),
            on,
            every: duration(hook.every.as_deref(), "1s", &format!("{key}.every"), report),
            timeout: duration(hook.timeout.as_deref(), "60s", &format!("{key}.timeout"), report),
        });
    }
    resolved
}

/// A group's number.
fn group_of(group: &str, report: &mut Report) -> Option<u32> {
    if let Ok(number) = group.parse() {
        return Some(number);
    }
    let found = nix::unistd::Group::from_name(group);
    let why = match found {
        Ok(Some(found)) => return Some(found.gid.as_raw()),
        Ok(None) => format!("There is no group {group:?}"),
        Err(error) => format!("The group {group:?} can't be looked up: {error}"),
    };
    report.fault("control.group", why);
    None
}

fn source_of(source: Option<&str>, key: &str, report: &mut Report) -> PathBuf {
    let key = format!("{key}.source");
    let Some(source) = source else {
        report.fault(key, "`source` is missing: the absolute path of the tree");
        return PathBuf::from("/nonexistent");
    };
    let path = absolute(source, &key, report);
    match path.metadata() {
        Ok(found) if found.is_dir() => (),
        Ok(_) => report.fault(key, format!("{source} is not a directory")),
        Err(_) if !path.is_absolute() => (),
        Err(error) => report.absence(key, format!("Cannot open the source {source}: {error}")),
    }
    path
}

fn target_path(path: Option<&str>, kind: &HostKind, key: &str, report: &mut Report) -> String {
    let key = format!("{key}.path");
    let Some(path) = path else {
        report.fault(key, "`path` is missing: where the mirror is on the host");
        return String::new();
    };
    if path.bytes().any(|b| b == 0 || b == b'\n') {
        report.fault(key.clone(), "A path can't hold a line end or a NUL byte here");
    }
    if path.split('/').any(|component| component == "..") {
        report.fault(key.clone(), "Expected a path without `..`");
    }
    if !matches!(kind, HostKind::Local) && path.contains(['*', '?', '[', '\\']) {
        let why = "A path on a host can't hold `*`, `?`, `[` or a backslash: the rsync there would \
                   take it for a pattern; rename the directory, or link to it";
        report.fault(key.clone(), why);
    }
    let trimmed = path.trim_end_matches('/').trim_end_matches("/.");
    match kind {
        HostKind::Local if !path.starts_with('/') => {
            report.fault(key, format!("The path {path:?} is relative; write it from /"));
        }
        HostKind::Local | HostKind::Ssh { .. } if trimmed.is_empty() => {
            report.fault(key, "A mirror can't be the root directory of a machine");
        }
        HostKind::Rsyncd { .. } if path.starts_with('/') || path.is_empty() => {
            report.fault(
                key,
                format!("Expected `module/path` without a leading slash, found {path:?}"),
            );
        }
        // Past the shell nobody knows where that is.
        HostKind::Ssh { .. }
            if path.starts_with('~') && !path.starts_with("~/") && !is_plain_for_shells(path) =>
        {
            report.fault(key, "With such characters in it, write the path from / or `~/`");
        }
        HostKind::Ssh { .. } if path.starts_with('-') => {
            report.fault(key, "A path on a host must not begin with a dash; write ./ in front");
        }
        HostKind::Rsyncd { .. } | HostKind::Ssh { .. } | HostKind::Local => (),
    }
    trimmed.to_string()
}

fn check_name(name: &str, key: &str, report: &mut Report) {
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(plain) {
        report.fault(key, "Expected a name of letters, digits, `-`, `_` and `.`");
    }
}

fn check_extra(options: &RsyncOptions, key: &str, report: &mut Report) {
    for (index, extra) in options.extra.iter().enumerate() {
        if let Some(why) = refusal(extra) {
            report.fault(
                format!("{key}.rsync.extra[{index}]"),
                format!("{extra:?} is refused: {why}"),
            );
        }
    }
    for (field, value) in [("program", &options.program), ("rsync_path", &options.rsync_path)] {
        if value.as_deref().is_some_and(|value| value.is_empty() || value.starts_with('-')) {
            report.fault(format!("{key}.rsync.{field}"), "Expected the path of a program");
        }
    }
    if options.partial_dir.as_deref() == Some(".") {
        let why = "A broken-off file would stand under its own name; name a directory";
        report.fault(format!("{key}.rsync.partial_dir"), why);
    }
}

fn address_of(address: Option<&str>, key: &str, report: &mut Report) -> String {
    let key = format!("{key}.address");
    let Some(address) = address else {
        report.fault(key, "`address` is missing: the host's name or address");
        return String::new();
    };
    if address.starts_with('-') {
        report
            .fault(key, format!("A host that begins with a dash would be an option: {address:?}"));
    } else if address.is_empty()
        || address.contains(|c: char| c.is_whitespace() || c.is_control() || "/@[]".contains(c))
    {
        report.fault(key, format!("Expected a host's name or address, found {address:?}"));
    }
    address.to_string()
}

fn user_of(user: &str, key: &str, report: &mut Report) -> String {
    if user.starts_with('-') {
        report.fault(key, format!("A user that begins with a dash would be an option: {user:?}"));
    } else if user.is_empty()
        || user.contains(|c: char| c.is_whitespace() || c.is_control() || ":/@".contains(c))
    {
        report.fault(key, format!("Expected a user's name, found {user:?}"));
    }
    user.to_string()
}

fn port_of(port: Option<i64>, key: &str, report: &mut Report) -> Option<u16> {
    let port = port?;
    if let Ok(port @ 1..) = u16::try_from(port) {
        Some(port)
    } else {
        report
            .fault(format!("{key}.port"), format!("Expected a port from 1 to 65535, found {port}"));
        None
    }
}

fn readable(path: &str, key: &str, report: &mut Report) -> PathBuf {
    let absolute = absolute(path, key, report);
    if absolute.is_absolute()
        && let Err(error) = std::fs::File::open(&absolute)
    {
        report.fault(key, format!("Cannot read {path}: {error}"));
    }
    absolute
}

fn secret_file(path: &str, key: &str, report: &mut Report) -> PathBuf {
    let key = format!("{key}.password_file");
    let path = readable(path, &key, report);
    // rsync itself refuses such a file, at the first push.
    if let Ok(metadata) = path.metadata()
        && metadata.mode() & 0o077 != 0
    {
        let mode = metadata.mode() & 0o777;
        let name = path.display();
        report.fault(
            key,
            format!(
                "Others can read the password in {name} (mode {mode:03o}); do: chmod 600 {name}"
            ),
        );
    }
    path
}

fn retry(retry: &file::Retry, key: &str, report: &mut Report) -> RetryPlan {
    let first = duration(retry.first.as_deref(), "1s", &format!("{key}.retry.first"), report);
    let max = duration(retry.max.as_deref(), "5m", &format!("{key}.retry.max"), report);
    if first.is_zero() {
        report.fault(format!("{key}.retry.first"), "Expected more than nothing");
    }
    if max < first {
        report.fault(format!("{key}.retry.max"), "Expected no less than `first`");
    }
    RetryPlan { first, max }
}

fn duration(text: Option<&str>, default: &str, key: &str, report: &mut Report) -> Duration {
    let text = text.unwrap_or(default);
    match humantime::parse_duration(text) {
        Ok(duration) => duration,
        // humantime wants a unit even for nothing.
        Err(_) if text == "0" => Duration::ZERO,
        Err(error) => {
            let expected = "Expected a duration such as \"50ms\", \"2s\" or \"5m\"";
            report.fault(key, format!("{expected}, found {text:?}: {error}"));
            humantime::parse_duration(default).expect("defaults are durations")
        }
    }
}

fn at_least_one(number: Option<i64>, default: usize, key: &str, report: &mut Report) -> usize {
    match number.map(usize::try_from) {
        None => default,
        Some(Ok(number @ 1..)) => number,
        Some(_) => {
            report.fault(key, "Expected a number from 1 upwards");
            default
        }
    }
}

fn absolute(path: &str, key: &str, report: &mut Report) -> PathBuf {
    if !Path::new(path).is_absolute() {
        report.fault(key, format!("The path {path:?} is relative; write it from /"));
    }
    PathBuf::from(path)
}
