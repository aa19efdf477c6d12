//! rsync's own options that a host or a mirror may set, by rsync's long names.

use serde::{Deserialize, Serialize};

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// rsync's own options. What is none follows from `archive`, or is rsync's default.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(default, deny_unknown_fields, rename = "Rsync")]
        pub struct RsyncOptions {
            $($(#[$doc])* pub $name: Option<$type>,)*
            /// More options, each as rsync takes it, such as `--skip-compress=gz/jpg`.
            pub extra: Vec<String>,
        }

        impl RsyncOptions {
            /// These options, where `over` does not set them.
            #[must_use]
            pub fn overridden_by(&self, over: &Self) -> Self {
                Self {
                    $($name: over.$name.clone().or_else(|| self.$name.clone()),)*
                    extra: self.extra.iter().chain(&over.extra).cloned().collect(),
                }
            }
        }
    };
}

options! {
    /// The rsync to run here; default `rsync`, looked up in PATH.
    program: String,
    /// Links, modes, times, owners, groups, devices and special files; default true.
    archive: bool,
    /// Symbolic links; default as `archive`.
    links: bool,
    /// Modes; default as `archive`.
    perms: bool,
    /// Modification times; default as `archive`.
    times: bool,
    /// Groups; default as `archive`.
    group: bool,
    /// Owners, where the receiver is privileged; default as `archive`.
    owner: bool,
    /// Device files; default as `archive`.
    devices: bool,
    /// Sockets and fifos; default as `archive`.
    specials: bool,
    /// Whether files are executable, where `perms` is off.
    executability: bool,
    /// Access control lists.
    acls: bool,
    /// Extended attributes.
    xattrs: bool,
    /// Files with several names are linked on the mirror too.
    hard_links: bool,
    /// Owners and groups by number, not by name.
    numeric_ids: bool,
    /// Compression on the way.
    compress: bool,
    /// The compression, such as `zstd`.
    compress_choice: String,
    /// Its level.
    compress_level: i32,
    /// Walks compare contents, not size and time.
    checksum: bool,
    /// Files are sent whole, without comparing blocks.
    whole_file: bool,
    /// Runs of zeros become holes.
    sparse: bool,
    /// The receiver makes room for a file before it writes it.
    preallocate: bool,
    /// The receiver waits for the disk after each file.
    fsync: bool,
    /// All files of a run appear at its end.
    delay_updates: bool,
    /// Directory on the mirror for files that were broken off.
    partial_dir: String,
    /// Directory on the mirror for files being received.
    temp_dir: String,
    /// Modes are changed so on the mirror.
    chmod: String,
    /// Everything belongs to this `USER:GROUP` on the mirror.
    chown: String,
    /// Owners are changed so on the mirror.
    usermap: String,
    /// Groups are changed so on the mirror.
    groupmap: String,
    /// The mirror keeps privileged attributes in extended ones.
    fake_super: bool,
    /// Directories' times are left out.
    omit_dir_times: bool,
    /// Links' times are left out.
    omit_link_times: bool,
    /// The rsync to run on the host.
    rsync_path: String,
}
