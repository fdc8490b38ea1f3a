//! Files damaged at random, and the memory that reading them takes: for the tests of everything that reads files which
//! others wrote. Drawn from a seed, so that what is found can be found again.

use std::path::{Path, PathBuf};

/// An endless row of damages.
pub struct Damages {
    state: u64,
}

impl Damages {
    /// The damages of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A number below `end`, which is above 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % end
    }

    /// The bytes with up to five changes.
    pub fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        for _ in 0..=self.below(5) {
            if !damaged.is_empty() {
                self.change(&mut damaged);
            }
        }
        if self.below(8) == 0 {
            damaged.truncate(self.below(damaged.len() + 1));
        }
        damaged
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let place = self.below(bytes.len());
        let rest = bytes.len() - place;
        match self.below(7) {
            0 => bytes[place] = self.below(256) as u8,
            1 => bytes[place] ^= 1 << self.below(8),
            // Numbers that lists and offsets may not believe.
            2 => bytes[place..].iter_mut().take(1 + self.below(8)).for_each(|byte| *byte = 0xff),
            3 => bytes[place..].iter_mut().take(1 + self.below(8)).for_each(|byte| *byte = 0),
            4 => bytes[place..].iter_mut().take(1 + self.below(4)).for_each(|byte| *byte = byte.wrapping_add(1)),
            5 => drop(bytes.drain(place..place + 1 + self.below(rest.min(16)))),
            _ => {
                let again = bytes[place..place + 1 + self.below(rest.min(16))].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, again);
            }
        }
    }
}

/// The undamaged files of a kind in `tests/seeds`, in the order of their names.
pub fn seeds(kind: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds").join(kind);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Damages the seeds of a kind until `inputs` were read, and tells how many were read all the same. Each may take
/// `most_bytes` of memory.
pub fn read_damaged(
    kind: &str,
    (inputs, seed): (usize, u64),
    most_bytes: usize,
    damage: impl Fn(&[u8], &mut Damages) -> Vec<u8>,
    is_read: impl Fn(&[u8]) -> bool,
) -> usize {
    let (seeds, mut damages) = (seeds(kind), Damages::new(seed));
    let mut read = 0;
    for number in 0..inputs {
        let (name, whole) = &seeds[number % seeds.len()];
        let bytes = damage(whole, &mut damages);
        let (success, peak) = peak_bytes(|| is_read(&bytes));
        let what = format_args!("{} bytes made of {}, input {number} of seed {seed}", bytes.len(), name.display());
        assert!(peak <= most_bytes, "{what}, took {peak} bytes of memory");
        read += usize::from(success);
    }
    read
}

/// What `work` gives, and the most bytes that this thread had allocated in it at a time.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let mut result = None;
    let counted = allocation_counter::measure(|| result = Some(work()));
    (result.expect("the work was done"), counted.bytes_max as usize)
}
