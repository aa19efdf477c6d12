//! The rules of `core`, wired together as the actors do it, in virtual time, with faults drawn from a
//! seed: `SIMULATE=SEED cargo test -p mirrorball-core --test rules simulation` repeats one run, `SCHEDULES=N` makes more of them.

mod deletion_oracle;
mod disk;
mod mirror;
mod tree;
mod volume;
mod world;

use mirrorball_core::data::path::RelPath;

use crate::{number, part_of};

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to one less than the bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    /// A path of up to three of three names.
    pub fn path(&mut self) -> RelPath {
        let depth = 1 + self.below(3);
        (0..depth).fold(RelPath::root(), |path, _| path.join(&[b'a' + self.below(3) as u8]))
    }
}

#[test]
fn whatever_goes_wrong_every_mirror_ends_equal_and_nobody_says_so_before() {
    if let Some(seed) = number("SIMULATE") {
        world::run(seed, true);
        return;
    }
    let first = number("FIRST").unwrap_or(1);
    for seed in first..first + number("SCHEDULES").unwrap_or_else(|| part_of(10_000)) {
        let run = std::panic::catch_unwind(|| world::run(seed, false));
        assert!(run.is_ok(), "SIMULATE={seed} shows it");
    }
}
