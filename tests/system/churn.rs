//! Random work by several writers over six mirrors, then equality without touching anything.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::everyday::Six;

/// splitmix64: a seed is a whole run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Some operations below a directory.
    pub fn work_in(&mut self, root: &Path, count: usize) {
        (0..count).for_each(|_| self.work(root));
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn path(&mut self, root: &Path) -> PathBuf {
        let mut path = root.to_path_buf();
        for _ in 0..=self.below(3) {
            path = path.join(["a", "b", "c", "d\n*", "-e", "#f"][self.below(6)]);
        }
        path
    }

    /// One operation; whether it succeeds is the file system's matter.
    fn work(&mut self, root: &Path) {
        let (path, other) = (self.path(root), self.path(root));
        let text = "x".repeat(self.below(5000));
        let _ = match self.below(11) {
            0 | 1 => fs::create_dir_all(&path),
            2 | 3 => fs::write(&path, text),
            4 => File::options()
                .append(true)
                .open(&path)
                .and_then(|mut f| f.write_all(text.as_bytes())),
            5 => fs::rename(&path, &other),
            6 => fs::remove_file(&path),
            7 if self.below(3) == 0 => fs::remove_dir_all(&path),
            8 => std::os::unix::fs::symlink("a/b", &path),
            9 => fs::hard_link(&path, &other),
            _ => {
                let mode = 0o600 + self.below(0o100) as u32;
                let mode = if path.is_dir() { 0o755 } else { mode };
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
            }
        };
    }
}

pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn random_work_ends_in_equality() {
    let seed = number("SEED").unwrap_or(20_261_121);
    let seconds = number("SECONDS").unwrap_or(10);
    println!("SEED={seed} SECONDS={seconds}");
    let six = Six::start(|_| ());
    let source = six.daemon.source();
    let end = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let source = &source;
            scope.spawn(move || {
                let mut random = Random(seed + writer);
                while Instant::now() < end {
                    random.work(source);
                    if random.below(50) == 0 {
                        std::thread::sleep(Duration::from_millis(random.below(200) as u64));
                    }
                }
            });
        }
    });
    six.check(&format!("seed {seed}"));
}
