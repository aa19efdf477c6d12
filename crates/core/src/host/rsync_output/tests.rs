use super::*;

fn step(kind: StepKind, paths: &[&str]) -> Step {
    let paths = paths.iter().map(|p| (*p).into()).collect();
    Step { deletions: Deletions::All, is_shallow: false, ..Step::new(kind, paths) }
}

fn ended(exit: Exit, stderr: &str) -> StepEnd {
    StepEnd {
        messages: stderr.into(),
        prefixes: vec![b"/src".to_vec(), b"/sub".to_vec()],
        ..StepEnd::new(exit)
    }
}

fn verdict(kind: StepKind, paths: &[&str], code: i32, stderr: &str) -> Verdict {
    judge(&step(kind, paths), &ended(Exit::Code(code), stderr))
}

fn failed(verdict: &Verdict) -> Vec<String> {
    match &verdict.outcome {
        Outcome::Partly(failed) => failed.iter().map(|f| f.path.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

const OPEN: &str = "rsync: [sender] send_files failed to open \"/src/d/a\": Permission denied (13)\n\
    rsync error: some files/attrs were not transferred (see previous errors) (code 23)\n";

#[test]
fn hard_case_13_a_partial_transfer_names_the_paths_and_the_rest_is_done() {
    let verdict = verdict(StepKind::Written, &["d/a", "d/b"], 23, OPEN);
    assert_eq!(failed(&verdict), ["d/a"]);
}

#[test]
fn hard_case_13_what_nobody_can_attribute_is_still_owed() {
    let odd = "rsync: something odd happened\n";
    for stderr in [odd, ""] {
        let many = verdict(StepKind::Written, &["d/a", "d/b"], 23, stderr);
        assert!(matches!(many.outcome, Outcome::Unattributed(_)), "{many:?}");
    }
    let one = verdict(StepKind::Written, &["d/a"], 23, odd);
    assert_eq!(failed(&one), ["d/a"]);
}

#[test]
fn hard_case_35_what_a_login_shell_says_hides_no_suspect() {
    let stderr = format!("Welcome to web1!\n{OPEN}");
    let many = verdict(StepKind::Written, &["d/a", "d/b"], 23, &stderr);
    assert_eq!(failed(&many), ["d/a"]);
    assert!(many.is_rest_unproved);
    let done = verdict(StepKind::Written, &["d/a", "d/b"], 0, "Welcome to web1!\n");
    assert_eq!(done.outcome, Outcome::Done);
}

#[test]
fn deletions_are_not_proved_by_messages_that_were_not_kept() {
    let end = StepEnd { messages_cut: true, ..ended(Exit::Code(0), "") };
    let deletes = step(StepKind::Missing, &["d/a", "d/b"]);
    assert!(matches!(judge(&deletes, &end).outcome, Outcome::Unattributed(_)));
    let sends = Step { deletions: Deletions::None, ..step(StepKind::Written, &["d/a", "d/b"]) };
    assert_eq!(judge(&sends, &end).outcome, Outcome::Done);
}

#[test]
fn more_vanished_names_than_changes_explain_are_no_success() {
    let vanished = |count: usize| "file has vanished: \"/src/x\"\n".repeat(count);
    let outcome = |kind, listed: usize, count| {
        let paths: Vec<String> = (0..listed).map(|it| format!("d/{it}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        verdict(kind, &paths, 24, &vanished(count)).outcome
    };
    let is_none = |outcome: Outcome| matches!(outcome, Outcome::Again { cut_off: false, .. });
    assert_eq!(outcome(StepKind::Walk, 0, 1000), Outcome::Done);
    assert!(is_none(outcome(StepKind::Walk, 0, 1001)));
    assert_eq!(outcome(StepKind::Written, 100, 10), Outcome::Done);
    assert!(is_none(outcome(StepKind::Written, 100, 11)));
    assert_eq!(outcome(StepKind::Written, 3, 3), Outcome::Done, "a few always come and go");
}

#[test]
fn hard_case_56_a_long_message_is_not_kept_for_each_path() {
    let long = format!("rsync: {} happened\n", "x".repeat(200_000));
    let mut said =
        RsyncMessages::read(&step(StepKind::Written, &["d/a"]), &ended(Exit::Code(23), &long));
    let reason = said.unattributed.remove(0);
    assert!(reason.chars().count() <= MESSAGE_CHARS_MAX && reason.ends_with(" happened"));
}

#[test]
fn a_walk_with_a_failure_nobody_can_attribute_is_compared_once_more_and_not_walked_for_ever() {
    let odd = verdict(StepKind::Walk, &[], 23, "rsync: something odd happened\n");
    assert_eq!(failed(&odd), ["."]);
}

#[test]
fn a_file_that_changed_while_it_was_sent_is_named() {
    let stderr = "ERROR: d/a failed verification -- update discarded.\n";
    assert_eq!(failed(&verdict(StepKind::Written, &["d/a", "d/b"], 23, stderr)), ["d/a"]);
}

#[test]
fn hard_case_13_skipped_deletions_prove_nothing_about_the_rest() {
    let stderr = "rsync: [sender] opendir \"/src/d/u\" failed: Permission denied (13)\n\
        IO error encountered -- skipping file deletion\n";
    for (kind, paths) in [(StepKind::Subtrees, &["d", "e"][..]), (StepKind::Walk, &[])] {
        for code in [0, 23, 24] {
            let verdict = verdict(kind, paths, code, stderr);
            assert_eq!(failed(&verdict), ["d/u"]);
            assert!(verdict.is_rest_unproved, "{code}");
        }
    }
    let unnamed = "IO error encountered -- skipping file deletion\n";
    assert_eq!(failed(&verdict(StepKind::Subtrees, &["d", "e"], 23, unnamed)), ["d", "e"]);
    assert_eq!(failed(&verdict(StepKind::Walk, &[], 23, unnamed)), ["."]);
}

#[test]
fn names_in_messages_are_suspects_and_the_exit_code_is_the_proof() {
    let is_unproved =
        |code| verdict(StepKind::Written, &["d/a", "d/b"], code, OPEN).is_rest_unproved;
    assert!(is_unproved(23));
    assert!(!is_unproved(0) && !is_unproved(24));
}

#[test]
fn hard_case_31_a_file_that_a_mirror_can_not_take_is_a_suspect() {
    let stderr = "rsync: [receiver] write failed on \"/sub/d/a\": File too large (27)\n\
        rsync error: error in file IO (code 11) at receiver.c(394) [receiver=3.5.0]\n\
        rsync: [sender] write error: Broken pipe (32)\n";
    for (kind, paths) in [(StepKind::Written, &["d/a", "d/b"][..]), (StepKind::Walk, &[])] {
        let verdict = verdict(kind, paths, 11, stderr);
        assert_eq!(failed(&verdict), ["d/a"]);
        assert!(verdict.is_rest_unproved && verdict.broke_off);
    }
}

#[test]
fn hard_case_32_a_failure_on_attributes_alone_is_told_apart() {
    let times =
        "rsync: [generator] failed to set times on \"/sub/d\": Operation not permitted (1)\n";
    let verdict_of = |stderr: &str| verdict(StepKind::Written, &["d/a", "d/b"], 23, stderr);
    let verdict = verdict_of(times);
    assert_eq!(failed(&verdict), ["d"]);
    assert_eq!(verdict.on_attributes, [("d".into(), Attributes::TIMES)].into());
    assert_eq!(verdict.outcome.unproved()[0].need, Need::ATTRIBUTES);
    let mkdir =
        "rsync: [generator] recv_generator: mkdir \"/sub/d\" failed: Permission denied (13)\n";
    let both = verdict_of(&format!("{times}{mkdir}"));
    assert!(both.on_attributes.is_empty() && both.outcome.unproved()[0].need.wants_contents());
    let owner =
        "rsync: [receiver] chown \"/sub/d/.a.Xy12Zz\" failed: Operation not permitted (1)\n";
    let file = verdict_of(owner);
    assert_eq!(file.on_attributes, [("d/a".into(), Attributes::OWNER)].into());
}

#[test]
fn hard_case_32_a_directory_that_can_not_be_dated_is_there_at_first_contact() {
    let said =
        "rsync: [generator] failed to set times on \"/sub/.\": Operation not permitted (1)\n";
    assert_eq!(verdict(StepKind::FirstContact, &[], 23, said).outcome, Outcome::Done);
}

#[test]
fn hard_case_11_a_directory_kept_for_its_excluded_files_is_done_with_a_note() {
    let stderr = "cannot delete non-empty directory: z\n";
    let kept = verdict(StepKind::Missing, &["z"], 0, stderr);
    assert_eq!(kept.outcome, Outcome::Done);
    assert_eq!(kept.notes.len(), 1);
    let in_the_way = "cannot delete non-empty directory: z\n\
        could not make way for new regular file: z\n";
    let stuck = verdict(StepKind::Subtrees, &["z"], 23, in_the_way);
    assert_eq!(failed(&stuck), ["z"]);
    assert!(stuck.notes.is_empty());
}

#[test]
fn names_are_read_back_and_temporary_names_lead_to_the_final_one() {
    let stderr = "rsync: [receiver] mkstemp \"/sub/d/.a\\#012b.Xy12Zz\" (in m) failed: \
        Permission denied (13)\n";
    let verdict = verdict(StepKind::Written, &["d/a\nb", "d/c"], 23, stderr);
    assert_eq!(failed(&verdict), [r"d/a\nb"]);
}

#[test]
fn signals_unknown_codes_and_silence_are_never_success() {
    let step = step(StepKind::Written, &["a"]);
    for exit in [Exit::Signal(9), Exit::NotStarted]
        .into_iter()
        .chain((1..=22).chain([25, 30, 35, 99, 126, 127, 255]).map(Exit::Code))
    {
        let verdict = judge(&step, &ended(exit, ""));
        assert!(matches!(verdict.outcome, Outcome::Again { .. }), "{exit:?}: {verdict:?}");
    }
}

#[test]
fn a_full_disk_is_the_mirrors_fault_and_a_refused_connection_the_hosts() {
    let outcome = |code, stderr| verdict(StepKind::Written, &["a", "b"], code, stderr).outcome;
    let blame = |code, stderr| match outcome(code, stderr) {
        Outcome::Again { blame, .. } => blame,
        other => panic!("{other:?}"),
    };
    let full = "rsync: [receiver] write failed on \"/sub/a\": No space left on device (28)\n";
    assert!(matches!(outcome(11, full), Outcome::Full(_)));
    assert!(matches!(outcome(23, full), Outcome::Full(_)));
    assert_eq!(blame(5, "@ERROR: Unknown module 'x'\n"), Blame::Mirror);
    assert_eq!(blame(5, "@ERROR: max connections (2) reached -- try again later\n"), Blame::Host);
    assert_eq!(
        blame(10, "rsync: [sender] failed to connect: Connection refused (111)\n"),
        Blame::Host
    );
}

#[test]
fn hard_case_15_a_target_that_vanished_halts_the_mirror_and_a_vanished_source_does_not() {
    let outcome = |code, who: &str| {
        let said =
            format!("rsync: [{who}] change_dir#3 \"/x\" failed: No such file or directory (2)\n");
        verdict(StepKind::RootItself, &["a"], code, &said).outcome
    };
    assert!(matches!(outcome(3, "Receiver"), Outcome::Halt(_)));
    assert!(matches!(outcome(11, "Receiver"), Outcome::Halt(_)));
    assert!(matches!(outcome(3, "sender"), Outcome::Again { .. }));
}

#[test]
fn hard_case_14_only_what_broke_off_in_the_middle_may_still_land() {
    let cut_off = |exit, stderr| {
        let end = judge(&step(StepKind::Written, &["a", "b"]), &ended(exit, stderr));
        matches!(end.outcome, Outcome::Again { cut_off: true, .. })
    };
    for code in [12, 20, 30] {
        assert!(cut_off(Exit::Code(code), ""), "{code}");
    }
    assert!(cut_off(Exit::Signal(9), "") && cut_off(Exit::Code(10), "error in socket IO"));
    assert!(!cut_off(Exit::Code(10), "rsync: failed to connect to x: Connection refused\n"));
    let mut spoken = ended(Exit::Code(255), "");
    spoken.protocol = Some(32);
    let broken = judge(&step(StepKind::Written, &["a", "b"]), &spoken).outcome;
    assert!(matches!(broken, Outcome::Again { cut_off: true, .. }), "ssh broke: {broken:?}");
    assert!(!cut_off(Exit::Code(255), "ssh: connect to host x: Connection refused\n"));
    assert!(!cut_off(Exit::Code(5), "@ERROR: auth failed\n") && !cut_off(Exit::NotStarted, ""));
}

#[test]
fn an_end_that_can_not_delete_missing_entries_is_told_apart() {
    for (code, stderr) in [
        (2, "ERROR: invalid file mode 00 for x\n"),
        (4, "ERROR: The server is configured to refuse --delete-missing-args\n"),
    ] {
        let outcome = verdict(StepKind::Missing, &["a"], code, stderr).outcome;
        assert!(matches!(outcome, Outcome::Incapable(Capability::DeleteMissing, _)));
    }
}

#[test]
fn a_directory_that_could_not_be_made_is_tried_again_with_all_that_is_in_it() {
    let said = "rsync: [generator] recv_generator: mkdir \"/sub/d\" failed: Permission denied (13)\n\
                *** Skipping any contents from this failed directory ***\n";
    for kind in [StepKind::Subtrees, StepKind::Walk] {
        let paths: &[&str] = if kind == StepKind::Walk { &[] } else { &["d"] };
        let Outcome::Partly(failed) = verdict(kind, paths, 23, said).outcome else {
            panic!("it is attributed")
        };
        assert!(failed.iter().any(|it| it.path == "d".into()), "{failed:?}");
        assert!(failed.iter().all(|it| it.need.is_within()), "{failed:?}");
    }
}

#[test]
fn what_rrsync_does_not_understand_is_done_without_fine_times() {
    let stderr = "/usr/bin/rrsync error: invalid rsync-command syntax or options\n";
    let outcome = verdict(StepKind::FirstContact, &[], 12, stderr).outcome;
    assert!(matches!(outcome, Outcome::Incapable(Capability::Nanoseconds, _)), "{outcome:?}");
}

#[test]
fn hard_case_12_what_vanished_meanwhile_is_done() {
    let stderr = "file has vanished: \"/src/d/a\"\nrsync warning: some files vanished (code 24)\n";
    assert_eq!(verdict(StepKind::Walk, &[], 24, stderr).outcome, Outcome::Done);
}

#[test]
fn a_leftover_that_stays_leaves_its_directory_owed() {
    let stderr =
        "rsync: [generator] delete_file: unlink(d/.a.Xy12Zw) failed: Operation not permitted (1)\n";
    let verdict = verdict(StepKind::Leftovers, &["d", "d/e", "f"], 23, stderr);
    assert_eq!(failed(&verdict), ["d"]);
}
