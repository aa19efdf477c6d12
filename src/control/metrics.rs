//! `/metrics`: everything that is counted, in the text format that Prometheus reads.
//!
//! Labels are names of the configuration and words of this program, so there is a bound on them.

use std::fmt::{self, Debug};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::actors::message::Facts;
use crate::watch::inotify::watches_max;
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::runs::{Durations, RunEnd, Runs};
use mirrorball_core::data::status::{MirrorState, MirrorStatus, RootState, RootStatus};
use mirrorball_core::host::mirror::MirrorReport;

/// What is answered with it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics as text.
pub fn text(facts: Facts) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("mirrorball");
    registry.register_collector(Box::new(Fleet(facts)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Fleet(Facts);

type MirrorLabels<'a> = [(&'static str, &'a str); 2];

impl Collector for Fleet {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.0.status;
        let version = [([("version", status.version.as_str())], 1.0)];
        gauges(&mut encoder, "build_info", "Which version this is", version)?;
        let refused = f64::from(u8::from(status.config.refused.is_some()));
        let help = "Whether a newer configuration was refused";
        encoder
            .encode_descriptor("config_refused", help, None, MetricType::Gauge)?
            .encode_gauge(&refused)?;
        if let Some(limit) = watches_max() {
            encoder
                .encode_descriptor(
                    "watch_limit",
                    "inotify watches that a user may have",
                    None,
                    MetricType::Gauge,
                )?
                .encode_gauge(&(limit as f64))?;
        }
        let help = "Actors that died and were started anew";
        encoder
            .encode_descriptor("actor_restarts", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&status.actor_restarts, None)?;
        self.roots(&mut encoder)?;
        self.mirrors(&mut encoder)?;
        self.runs(&mut encoder)
    }
}

impl Fleet {
    fn roots(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Fact = (&'static str, &'static str, fn(&RootStatus) -> f64);
        let facts: [Fact; 4] = [
            ("root_directories", "Watched directories", |root| root.directories as f64),
            ("root_epoch", "The newest sealed epoch", |root| root.head.0 as f64),
            ("root_open_paths", "Changed paths that are not sealed yet", |root| {
                root.open_paths as f64
            }),
            ("root_held_files", "Files that somebody writes", |root| root.held_files as f64),
        ];
        for (name, help, value) in facts {
            let roots = self.0.status.roots.iter();
            gauges(encoder, name, help, roots.map(|it| ([("root", it.id.as_str())], value(it))))?;
        }
        let states = self.0.status.roots.iter().flat_map(|root| {
            RootState::ALL.map(|state| {
                let is_it = f64::from(u8::from(root.state == state));
                ([("root", root.id.as_str()), ("state", state.name())], is_it)
            })
        });
        gauges(encoder, "root_state", "1 for the state in which the root is", states)?;
        let roots = || self.0.roots.iter();
        let events = roots().map(|(id, events, _)| ([("root", id.as_str())], *events));
        counters(encoder, "root_events", "Events that the kernel raised", events)?;
        let losses = roots().map(|(id, _, losses)| ([("root", id.as_str())], *losses));
        let help = "Times that events were lost, so that everything was compared";
        counters(encoder, "root_losses", help, losses)
    }

    fn mirrors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Fact = (&'static str, &'static str, fn(&MirrorStatus) -> f64);
        let facts: [Fact; 9] = [
            ("mirror_lag_seconds", "Age of the oldest change that is not there", |it| {
                it.lag_seconds
            }),
            ("mirror_pending_paths", "Paths that are not there", |it| it.pending_paths as f64),
            ("mirror_stuck_paths", "Paths that fail", |it| it.stuck_total as f64),
            ("mirror_held_deletions", "Deletions that wait for a person", |it| {
                it.held_deletions as f64
            }),
            ("mirror_drift_entries", "What the last check found changed by others", |it| {
                it.last_check.as_ref().map_or(0.0, |check| check.drift_total as f64)
            }),
            ("mirror_walk_entries", "Entries that the walk or check under way compares", |it| {
                it.walk.map_or(0.0, |walk| walk.entries as f64)
            }),
            ("mirror_walk_entries_done", "Of these, those in pieces that are done", |it| {
                it.walk.map_or(0.0, |walk| walk.entries_done as f64)
            }),
            ("mirror_epoch", "The newest epoch that it holds", |it| it.epoch.0 as f64),
            ("mirror_last_success_timestamp_seconds", "When a push last succeeded", |it| {
                let date =
                    it.last_success.as_deref().and_then(|at| humantime::parse_rfc3339(at).ok());
                let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
                since.map_or(0.0, |since| since.as_secs_f64())
            }),
        ];
        for (name, help, value) in facts {
            let mirrors = self.0.status.mirrors.iter();
            gauges(encoder, name, help, mirrors.map(|it| (labels(&it.id), value(it))))?;
        }
        let states = self.0.status.mirrors.iter().flat_map(|mirror| {
            MirrorState::ALL.map(|state| {
                let [root, host] = labels(&mirror.id);
                let is_it = f64::from(u8::from(mirror.state == state));
                ([root, host, ("state", state.name())], is_it)
            })
        });
        gauges(encoder, "mirror_state", "1 for the state in which the mirror is", states)
    }

    fn runs(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mirrors = || self.0.mirrors.iter();
        let sent = mirrors().map(|(id, report)| (labels(id), report.bytes_sent));
        counters(encoder, "mirror_sent_bytes", "Bytes that rsync says it sent", sent)?;
        let ended = mirrors().flat_map(|(id, report)| {
            kinds(report).into_iter().flat_map(move |(kind, runs)| {
                RunEnd::ALL.map(|end| {
                    let [root, host] = labels(id);
                    let labels = [root, host, ("kind", kind), ("end", end.name())];
                    (labels, runs.ended[end as usize])
                })
            })
        });
        counters(encoder, "mirror_runs", "Pushes and walks, by how they ended", ended)?;
        let help = "How long pushes and walks took";
        let name = "mirror_run_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (id, report) in mirrors() {
            for (kind, runs) in kinds(report) {
                let [root, host] = labels(id);
                let Durations { counts, sum } = &runs.durations;
                let bounds = Durations::BOUNDS.into_iter().chain([f64::MAX]);
                let buckets: Vec<(f64, u64)> = bounds.zip(*counts).collect();
                let total = counts.iter().sum();
                metric
                    .encode_family(&[root, host, ("kind", kind)])?
                    .encode_histogram::<NoLabelSet>(sum.as_secs_f64(), total, &buckets, None)?;
            }
        }
        Ok(())
    }
}

fn kinds(report: &MirrorReport) -> [(&'static str, &Runs); 2] {
    [("push", &report.push_runs), ("walk", &report.walk_runs)]
}

fn labels(id: &MirrorId) -> MirrorLabels<'_> {
    [("root", id.root.as_str()), ("host", id.host.as_str())]
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, f64)>,
) -> fmt::Result {
    family(encoder, name, help, MetricType::Gauge, values, |mut it, value| it.encode_gauge(&value))
}

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (L, u64)>,
) -> fmt::Result {
    family(encoder, name, help, MetricType::Counter, values, |mut it, value| {
        it.encode_counter::<NoLabelSet, _, u64>(&value, None)
    })
}

fn family<L: EncodeLabelSet, V>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    values: impl IntoIterator<Item = (L, V)>,
    write: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        write(metric.encode_family(&labels)?, value)?;
    }
    Ok(())
}
