//! rsync's notation of a target: which host, and where there.

use std::path::{Path, absolute};

use crate::config::file::{Host, HostLimits, Retry};
use mirrorball_core::data::rsync_options::RsyncOptions;

/// A target as understood.
#[derive(Clone, Debug)]
pub struct Target {
    /// A name for the host, made from its address.
    pub name: String,
    /// How it is reached.
    pub host: Host,
    /// Where there.
    pub path: String,
}

/// Options that a command line gives for all hosts.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// For rsync daemons.
    pub password_file: Option<String>,
    /// For ssh.
    pub identity: Option<String>,
    /// For ssh.
    pub known_hosts: Option<String>,
    /// For ssh, where the notation has no place for it.
    pub port: Option<i64>,
    /// rsync's own.
    pub rsync: RsyncOptions,
    /// Bounds.
    pub limits: HostLimits,
    /// Pauses.
    pub retry: Retry,
}

/// Reads `rsync://[user@]host[:port]/module[/path]`, `[user@]host::module[/path]`, `[user@]host:path` or
/// a local path. As in rsync, a colon before the first slash makes a target remote.
pub fn parse(text: &str, options: &HostOptions) -> Result<Target, String> {
    if let Some(rest) = text.strip_prefix("rsync://") {
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, machine) = split_user(place);
        let (address, port) = split_port(machine)?;
        return daemon(text, user, address, port, path, options);
    }
    let before_slash = text.split('/').next().unwrap_or(text);
    // An IPv6 address stands in brackets and holds colons itself.
    let colon = match before_slash.find(']') {
        Some(bracket) => before_slash[bracket..].find(':').map(|at| at + bracket),
        None => before_slash.find(':'),
    };
    let Some(colon) = colon else { return local(text, options) };
    let (user, address) = split_user(&text[..colon]);
    let address = address.trim_start_matches('[').trim_end_matches(']');
    if let Some(path) = text[colon + 1..].strip_prefix(':') {
        return daemon(text, user, address, None, path, options);
    }
    let path = match &text[colon + 1..] {
        // The login's home itself.
        "" => ".",
        path => path,
    };
    Ok(Target {
        name: plain_name(address),
        host: Host::Ssh {
            address: Some(user.map_or(address.to_string(), |user| format!("{user}@{address}"))),
            port: options.port,
            identity: options.identity.clone(),
            known_hosts: options.known_hosts.clone(),
            limits: options.limits.clone(),
            retry: options.retry.clone(),
            warm: None,
            rsync: options.rsync.clone(),
        },
        path: path.to_string(),
    })
}

fn daemon(
    text: &str,
    user: Option<&str>,
    address: &str,
    port: Option<i64>,
    path: &str,
    options: &HostOptions,
) -> Result<Target, String> {
    if path.is_empty() {
        return Err(format!("{text} names no module; write host::module or rsync://host/module"));
    }
    let name = match port {
        Some(port) => format!("{address}-{port}"),
        None => address.to_string(),
    };
    Ok(Target {
        name: plain_name(&name),
        host: Host::Rsyncd {
            address: Some(address.to_string()),
            port,
            user: user.map(Into::into),
            password_file: options.password_file.clone(),
            limits: options.limits.clone(),
            retry: options.retry.clone(),
            warm: None,
            rsync: options.rsync.clone(),
        },
        path: path.to_string(),
    })
}

fn local(text: &str, options: &HostOptions) -> Result<Target, String> {
    if text.is_empty() {
        return Err("A target is empty".into());
    }
    let path = absolute(Path::new(text)).map_err(|error| format!("Cannot use {text}: {error}"))?;
    let path = path.to_str().ok_or_else(|| format!("The target {text} is not UTF-8"))?;
    Ok(Target {
        name: "local".into(),
        host: Host::Local {
            limits: options.limits.clone(),
            retry: options.retry.clone(),
            warm: None,
            rsync: options.rsync.clone(),
        },
        path: path.to_string(),
    })
}

fn split_user(text: &str) -> (Option<&str>, &str) {
    match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, text),
    }
}

fn split_port(machine: &str) -> Result<(&str, Option<i64>), String> {
    let number = |text: &str| {
        text.parse().map(Some).map_err(|_| format!("Expected a port number, found {text:?}"))
    };
    if let Some(rest) = machine.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("An IPv6 address lacks its ]")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, number(port)?)),
            None => Ok((address, None)),
        };
    }
    match machine.split_once(':') {
        Some((address, port)) => Ok((address, number(port)?)),
        None => Ok((machine, None)),
    }
}

/// A name that the configuration would allow.
pub fn plain_name(text: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = text.chars().map(plain).collect();
    let name = name.trim_start_matches(['-', '.']);
    if name.is_empty() { "root".into() } else { name.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let target = parse(text, &HostOptions::default()).unwrap();
        let host = match target.host {
            Host::Rsyncd { address, port, user, .. } => {
                format!("rsyncd {user:?} {} {port:?}", address.unwrap())
            }
            Host::Ssh { address, .. } => format!("ssh {}", address.unwrap()),
            Host::Local { .. } => "local".into(),
        };
        assert_eq!(format!("{host} {}", target.path), expected, "{text}");
    }

    #[test]
    fn rsyncs_notations_are_understood() {
        check("rsync://u@h:8730/m/p", "rsyncd Some(\"u\") h Some(8730) m/p");
        check("rsync://[::1]:8730/m", "rsyncd None ::1 Some(8730) m");
        check("h::m/p", "rsyncd None h None m/p");
        check("u@h:/p", "ssh u@h /p");
        check("h:p/q", "ssh h p/q");
        check("u@[::1]:/p", "ssh u@::1 /p");
        check("/a:b/c", "local /a:b/c");
        assert!(parse("rsync://h", &HostOptions::default()).is_err());
        assert!(parse("rsync://h:x/m", &HostOptions::default()).is_err());
    }
}
