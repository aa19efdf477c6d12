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

impl ExitCode {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::Failed, Self::Usage, Self::Unavailable, Self::Software, Self::Config];

    /// What it means, for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Ok => "All is well.",
            Self::Failed => {
                "What was asked for is not so: a mirror lags, a pass failed, a flush ran out of time."
            }
            Self::Usage => "The command line is wrong, or a selector selects nothing.",
            Self::Unavailable => "No daemon answers, or one is running already.",
            Self::Software => "A fault of mirrorball.",
            Self::Config => "The configuration is wrong.",
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
