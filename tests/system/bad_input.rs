//! Whatever somebody else writes - configurations, rule files, rsync's messages, requests - is answered
//! with an error at worst.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::support::Daemon;
use mirrorball::config;
use mirrorball::transport::output::Output;
use mirrorball_core::data::outcome::Outcome;
use mirrorball_core::data::step::{Deletions, Exit, Step, StepEnd, StepKind};
use mirrorball_core::host::rsync_output;
use mirrorball_core::source::filter::{Filter, parse_rule};
use proptest::prelude::*;

const GOOD: &str = include_str!("../../config/web-farm.ron");

/// A good text with pieces of it moved, doubled, or replaced by anything.
fn bent(good: &'static str) -> impl Strategy<Value = String> {
    let len = good.len();
    let edit = (0..len, 0..40_usize, 0..len, any::<Option<char>>());
    proptest::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut text: Vec<char> = good.chars().collect();
        for (at, length, from, other) in edits {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            let from = from.min(text.len());
            let piece: Vec<char> = match other {
                Some(other) => vec![other],
                None => text[from..(from + length).min(text.len())].to_vec(),
            };
            text.splice(at..end, piece);
        }
        text.into_iter().collect()
    })
}

/// Lines like rsync's, and lines like nothing.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let like = prop::sample::select(vec![
        "rsync: [sender] send_files failed to open \"/src/a\": Permission denied (13)\n",
        "rsync: [receiver] mkstemp \"/sub/.a.Ab12Cd\" (in m) failed: No space left on device (28)\n",
        "cannot delete non-empty directory: a\n",
        "could not make way for new regular file: a\n",
        "IO error encountered -- skipping file deletion\n",
        "Deletions stopped due to --max-delete limit (99999999999999999999 skipped)\n",
        "file has vanished: \"/src/a\"\n",
        "ERROR: a failed verification -- update discarded.\n",
        "@ERROR: max connections (1) reached -- try again later\n",
        "rsync: \"\\#400\\#3\" failed (\n",
        ") failed (\n",
    ])
    .prop_map(|line| line.as_bytes().to_vec());
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..60);
    proptest::collection::vec(prop_oneof![like, any_bytes], 0..8).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_configuration_is_read_to_an_end(text in bent(GOOD)) {
        match config::load_text(Path::new("bent.ron"), &text) {
            Ok((plan, _)) => prop_assert!(!plan.roots.is_empty()),
            Err(faults) => prop_assert!(!faults.to_string().is_empty()),
        }
    }

    #[test]
    fn a_rule_file_is_read_to_an_end(
        lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..10),
        path in proptest::collection::vec(1_u8..=255, 1..20),
    ) {
        let mut rules = Vec::new();
        lines.iter().for_each(|line| parse_rule(line, false, &mut rules));
        let path: Vec<u8> = path.into_iter().filter(|byte| *byte != b'/').collect();
        if let (Ok(filter), Ok(path)) =
            (Filter::new(&rules), mirrorball_core::data::path::RelPath::parse(&path))
        {
            filter.excludes(&path, true);
        }
    }

    #[test]
    fn no_message_turns_a_failure_into_success(
        messages in messages(),
        code in prop_oneof![1..256_i32],
        kind in prop::sample::select(vec![
            StepKind::Written, StepKind::Subtrees, StepKind::Missing, StepKind::Walk,
        ]),
    ) {
        let paths = if kind == StepKind::Walk { vec![] } else { vec!["a".into(), "b".into()] };
        let step = Step { deletions: Deletions::All, ..Step::new(kind, paths) };
        let prefixes = vec![b"/src".to_vec(), b"/sub".to_vec()];
        let end = StepEnd { messages, prefixes, ..StepEnd::new(Exit::Code(code)) };
        let is_done = rsync_output::judge(&step, &end).outcome == Outcome::Done;
        prop_assert!(!is_done || code == 24, "{:?}", end);
    }

    #[test]
    fn output_is_read_to_an_end(pieces in proptest::collection::vec(messages(), 0..5)) {
        let mut output = Output::default();
        pieces.iter().for_each(|piece| output.take(piece));
    }
}

#[test]
fn a_configuration_can_not_be_nested_too_deep() {
    for open in ["(", "[", "{", "Config(hosts:{\"a\":", "Some("] {
        let text = open.repeat(5_000);
        assert!(config::load_text(Path::new("deep.ron"), &text).is_err());
    }
}

#[test]
fn the_control_socket_outlives_nonsense() {
    let daemon = Daemon::new().local("local").start();
    daemon.flush("");
    let requests: Vec<Vec<u8>> = vec![
        b"\0\0\0\0".to_vec(),
        b"GET".to_vec(),
        b"GET /status HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /flush HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n{\"a\":".to_vec(),
        b"POST /flush HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n{".to_vec(),
        b"POST /approve HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: \
          19\r\n\r\n{\"selectors\":[\"\\n\"]}"
            .to_vec(),
        b"GET /../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        [b"GET /".as_slice(), &[b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n"].concat(),
    ];
    for request in requests {
        let mut stream = UnixStream::connect(daemon.path("sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // It may hang up before all is written.
        let _ = stream.write_all(&request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains(" 200 ") && !answer.contains(" 202 "), "{answer}");
    }
    assert_eq!(daemon.mirror_status("local")["state"], "in-sync");
}
