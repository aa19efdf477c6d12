//! Attributes of entries that a mirror may be unable to keep.

bitflags::bitflags! {
    /// A set of attributes. A run can leave them as they are on the mirror.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
    pub struct Attributes: u8 {
        /// Owner and group.
        const OWNER = 1;
        /// The time of the last change.
        const TIMES = 1 << 1;
        /// The permission bits.
        const PERMISSIONS = 1 << 2;
    }
}

impl Attributes {
    /// The attributes that a message of rsync says it could not set; none if it is about anything else.
    pub fn in_message(line: &str) -> Self {
        let is_call = |call: &str| line.contains(&format!("] {call} \""));
        match () {
            () if is_call("failed to set times on") => Self::TIMES,
            () if is_call("failed to set permissions on") => Self::PERMISSIONS,
            () if (is_call("chown") || is_call("chgrp")) && line.contains("\" failed: ") => {
                Self::OWNER
            }
            () => Self::empty(),
        }
    }
}
