//! Confining what a child can read, by Landlock where the kernel has it: whoever can write in a root must
//! not make us publish files from elsewhere, by swapping a directory for a link at the right moment.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use landlock::{
    AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, path_beneath_rules,
};
use tokio::process::Command;

use mirrorball_core::data::source_dir::SourceDir;

/// What rsync and ssh read to run at all: programs and libraries, and the files of /etc that resolve
/// names. None of them is a secret; what does not exist is left out.
const SYSTEM: &[&str] = &[
    "/bin",
    "/dev/null",
    "/dev/urandom",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssh/ssh_config",
    "/etc/ssh/ssh_config.d",
    "/gnu/store",
    "/lib",
    "/lib64",
    "/nix/store",
    "/opt",
    "/sbin",
    "/usr",
];

/// What a child may read.
#[derive(Clone, Debug)]
pub struct Confinement {
    /// A Root, with all that is below it.
    pub root: SourceDir,
    /// Files, and directories with all that is below them.
    pub also: Vec<PathBuf>,
}

impl Confinement {
    /// Nothing but a Root, and what the system itself needs.
    pub fn new(root: &SourceDir) -> Self {
        Self { root: root.clone(), also: Vec::new() }
    }

    /// And what lies beside a program that was named by its path.
    pub fn allow_program(&mut self, program: &OsStr) {
        let beside = Path::new(program).parent().filter(|path| !path.as_os_str().is_empty());
        self.also.extend(beside.map(Path::to_path_buf));
    }

    fn ruleset(&self) -> Result<RulesetCreated, RulesetError> {
        let reading: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
        let system = SYSTEM.iter().map(PathBuf::from);
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(reading)?
            .create()?
            .add_rule(PathBeneath::new(self.root.as_fd(), reading))?
            .add_rules(path_beneath_rules(system, reading))?
            .add_rules(path_beneath_rules(&self.also, reading))
    }
}

/// Confines a child that is about to be started. A kernel without Landlock confines nothing.
#[expect(unsafe_code, reason = "only a hook between fork and exec can confine the child alone")]
pub fn confine(command: &mut Command, confinement: &Confinement) -> io::Result<()> {
    let mut ruleset = Some(confinement.ruleset().map_err(io::Error::other)?);
    // SAFETY: the hook makes two system calls on a ruleset that was made before the fork; it allocates
    // only to say that these failed.
    unsafe {
        command.pre_exec(move || match ruleset.take() {
            Some(ruleset) => ruleset.restrict_self().map(drop).map_err(io::Error::other),
            None => Ok(()),
        });
    }
    Ok(())
}
