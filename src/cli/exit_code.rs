//! Every exit code, in the words of sysexits.

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// All is well; or the daemon was told to stop.
    Ok = 0,
    /// What was asked for is not so: a mirror lags, a pass failed, a flush timed out.
    Failed = 1,
    /// The command line is wrong.
    Usage = 64,
    /// The daemon can't be reached, or one is running already.
    Unavailable = 69,
    /// A fault of ours.
    Software = 70,
    /// The configuration is wrong.
    Config = 78,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
