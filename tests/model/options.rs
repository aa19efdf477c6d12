//! What one modelled run is told to do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use mirrorball_core::data::attributes::Attributes;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::Rule;
use mirrorball_core::data::step::{Basis, Deletions, Step, StepKind};
use mirrorball_core::source::filter::Filter;

/// One line of rsync's `--files-from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub path: RelPath,
    /// With a slash at its end: links are followed, and what is directly in it is sent too.
    pub with_contents: bool,
    /// It stands for the names that are directly in it when the list is made.
    pub is_opened: bool,
}

/// What becomes of a listed name that is not in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is an error: exit 23.
    Fails,
    /// `--ignore-missing-args`.
    Ignored,
    /// `--delete-missing-args`.
    Deleted,
}

/// Where else the receiver looks for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AltDest {
    Link,
    Copy,
}

/// rsync's options, as far as they matter here. The model looks at nothing else, so that a new kind of Step needs no
/// more than another [`RunOptions`].
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// `--files-from`; none for the whole transfer root.
    pub list: Option<Vec<Listed>>,
    /// Below source and mirror; the root itself but for renames.
    pub top: RelPath,
    /// The target does not end in `/.`: it is made if it is missing.
    pub makes_target: bool,
    /// `--list-only` of the target.
    pub looks: bool,
    pub recursive: bool,
    /// Directories above listed names get their attributes.
    pub implied_dirs: bool,
    /// Attributes that stay as they are.
    pub omitted: Attributes,
    pub ignore_times: bool,
    pub checksum: bool,
    pub ignore_existing: bool,
    pub existing: bool,
    pub dry_run: bool,
    /// What it would delete is to be named.
    pub names_extras: bool,
    pub missing: Missing,
    pub delete: bool,
    pub delete_before: bool,
    pub max_delete: Option<u64>,
    /// With the directory, relative to the root.
    pub alt_dest: Option<(AltDest, RelPath)>,
    /// `--itemize-changes` twice.
    pub itemizes_all: bool,
    /// Neither sent nor deleted.
    pub filter: Arc<Filter>,
    /// Nothing is deleted but what has the name of a temporary file.
    pub leftovers_only: bool,
    /// The other end is an rsync daemon.
    pub is_daemon: bool,
    /// So many directories the sender has listed before the generator goes on, in a run that lists them one by one.
    pub lists_ahead: usize,
    /// So many files the generator has asked for before the first of them arrives, at least 1.
    pub files_ahead: usize,
}

impl RunOptions {
    /// What `transport::arguments` makes of a Step, with the rules of its Root.
    pub fn new(step: &Step, rules: &[Rule]) -> Self {
        use StepKind as Kind;
        let kind = step.kind;
        let is_inside = kind == Kind::Renamed;
        let mut all = Vec::new();
        match kind {
            Kind::MissingByFilter => all.extend(scope(&step.paths)),
            Kind::FirstContact | Kind::RootItself => all.push(Rule::Exclude(b"/*".to_vec())),
            _ => (),
        }
        if !is_inside {
            all.extend(step.held.iter().map(Rule::exclude_exactly));
            all.extend(rules.iter().cloned());
        }
        let renamed = step.renamed.as_ref();
        let ignores_missing = matches!(
            kind,
            Kind::Written
                | Kind::Touched
                | Kind::Renamed
                | Kind::Subtrees
                | Kind::SubtreesWritten
                | Kind::Replace
                | Kind::Leftovers
        );
        // Only these run without a list where they are about the whole root.
        let compares = matches!(kind, Kind::Walk | Kind::Check | Kind::Resend | Kind::Extras if !step.paths.is_empty());
        let is_listed = ignores_missing
            || compares
            || matches!(kind, Kind::FirstContact | Kind::RootItself | Kind::Missing);
        Self {
            list: is_listed.then(|| listed(step)),
            top: renamed.map_or_else(RelPath::root, |it| it.rename.to.clone()),
            makes_target: kind == Kind::FirstContact,
            looks: kind == Kind::Look,
            implied_dirs: step.opened.is_empty(),
            omitted: step.omitted,
            recursive: !step.is_shallow
                && matches!(
                    kind,
                    Kind::Subtrees
                        | Kind::SubtreesWritten
                        | Kind::Missing
                        | Kind::MissingByFilter
                        | Kind::Replace
                        | Kind::Resend
                        | Kind::Extras
                        | Kind::Walk
                        | Kind::Check
                        | Kind::Verify
                        | Kind::Plan
                ),
            ignore_times: matches!(
                kind,
                Kind::Written
                    | Kind::SubtreesWritten
                    | Kind::Replace
                    | Kind::Resend
                    | Kind::Missing
                    | Kind::MissingByFilter
            ) || renamed.is_some_and(|it| it.basis == Basis::Similar),
            checksum: matches!(kind, Kind::Check | Kind::Verify)
                || renamed.is_some_and(|it| it.by_content),
            ignore_existing: kind == Kind::Leftovers,
            existing: kind == Kind::Leftovers,
            dry_run: matches!(kind, Kind::Verify | Kind::Plan | Kind::Extras),
            names_extras: kind == Kind::Extras,
            missing: match kind {
                Kind::Missing => Missing::Deleted,
                Kind::Extras if compares && !step.is_shallow => Missing::Deleted,
                _ if ignores_missing || compares => Missing::Ignored,
                _ => Missing::Fails,
            },
            delete: step.deletions != Deletions::None,
            delete_before: step.deletions != Deletions::None && step.delete_first,
            max_delete: match step.deletions {
                Deletions::AtMost(most) => Some(most),
                Deletions::None | Deletions::All => None,
            },
            alt_dest: renamed.and_then(|it| match it.basis {
                Basis::Linked => Some((AltDest::Link, it.rename.from.clone())),
                Basis::Copied => Some((AltDest::Copy, it.rename.from.clone())),
                Basis::Similar if !it.rename.other_names || it.rename.from != it.rename.to => {
                    Some((AltDest::Copy, it.rename.from.clone()))
                }
                Basis::Similar => None,
            }),
            itemizes_all: renamed.is_some(),
            filter: compiled(&all),
            leftovers_only: kind == Kind::Leftovers,
            is_daemon: false,
            lists_ahead: usize::MAX,
            files_ahead: 1,
        }
    }

    /// Whether directories are listed one by one, while others are already compared. Only a recursive run does so,
    /// and not one that deletes before it sends.
    pub fn is_incremental(&self) -> bool {
        self.recursive && !self.delete_before
    }

    /// Whether the sender leaves out this entry.
    pub fn hides(&self, path: &RelPath, is_directory: bool) -> bool {
        !path.is_root() && self.filter.excludes_entry(path, is_directory)
    }

    /// Whether the receiver leaves this entry alone when it deletes. A daemon is told the rules only by a run that
    /// deletes.
    pub fn protects(&self, path: &RelPath, is_directory: bool) -> bool {
        if self.is_daemon && !self.delete {
            return false;
        }
        let is_spared = self.leftovers_only && (is_directory || !is_temporary(path.name()));
        is_spared || self.hides(path, is_directory)
    }
}

/// The compiled rules. Most runs have those of an earlier one, and compiling takes longer than a run.
fn compiled(rules: &[Rule]) -> Arc<Filter> {
    thread_local! {
        static KNOWN: RefCell<BTreeMap<Vec<Vec<u8>>, Arc<Filter>>> = RefCell::default();
    }
    let key = rules.iter().map(Rule::line).collect();
    let compile = || Arc::new(Filter::new(rules).expect("a few rules"));
    KNOWN.with_borrow_mut(|known| known.entry(key).or_insert_with(compile).clone())
}

/// Whether a receiver could have given a file this name while it wrote it: `.*.??????`.
pub fn is_temporary(name: &[u8]) -> bool {
    name.len() >= 8 && name[0] == b'.' && name[name.len() - 7] == b'.'
}

/// As `transport::arguments::list`; folding of long lists is left out, because it changes nothing but their length.
fn listed(step: &Step) -> Vec<Listed> {
    let paths = match &step.renamed {
        Some(renamed) => &renamed.rename.files,
        None => &step.paths,
    };
    let is_opened = |path: &RelPath| step.kind.is_recursive() && step.opened.contains(path);
    let listed = |path: RelPath, with_contents| {
        let is_opened = is_opened(&path);
        let with_contents = with_contents && !is_opened;
        Listed { path, with_contents, is_opened }
    };
    let names_root = step.kind == StepKind::FirstContact || step.paths.iter().any(RelPath::is_root);
    let root = names_root.then(|| listed(RelPath::root(), true));
    let rest = paths.iter().filter(|path| !path.is_root());
    let rest = rest.map(|path| listed(path.clone(), step.is_shallow));
    root.into_iter().chain(rest).collect()
}

/// As `transport::arguments::scope`: the listed names and the directories above them, and nothing else.
fn scope(paths: &[RelPath]) -> Vec<Rule> {
    let mut seen: Vec<RelPath> = Vec::new();
    for path in paths.iter().filter(|path| !path.is_root()) {
        seen.push(path.clone());
        seen.extend(path.ancestors().filter(|above| !above.is_root()));
    }
    let parents: std::collections::BTreeSet<RelPath> =
        seen.iter().filter_map(RelPath::parent).collect();
    let included = seen.iter().map(Rule::include_exactly);
    included.chain(parents.iter().map(Rule::exclude_inside)).collect()
}
