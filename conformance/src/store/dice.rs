//! Random batches and ranges, the same in every run.

use dokit_storage::{Batch, KeyRange, ListOptions};

use super::look::later;

/// The same "random" numbers in every run (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A key of at most three letters of a small alphabet, so that keys collide and nest.
    fn key(&mut self) -> String {
        let letters = ['_', 'a', 'b', '\0', '\u{e9}', '\u{FFFD}', '\u{1F600}'];
        let length = 1 + self.below(3);
        (0..length)
            .filter_map(|_| letters.into_iter().nth(self.index(letters.len())))
            .collect()
    }

    fn digit(&mut self) -> u8 {
        u8::try_from(self.below(10)).unwrap()
    }

    fn index(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).unwrap();
        usize::try_from(self.below(length)).unwrap()
    }

    pub(super) fn batch(&mut self) -> Batch {
        let mut batch = Batch::new();
        if self.below(40) == 0 {
            batch.delete_all();
        }
        for _ in 0..self.below(6) {
            let key = self.key();
            if self.below(3) == 0 {
                batch.delete(key);
            } else {
                batch.put(key, self.digit().to_string());
            }
        }
        match self.below(8) {
            0 => batch.set_alarm(later(1 + i64::from(self.digit()))),
            1 => batch.delete_alarm(),
            _ => {}
        }
        batch
    }

    pub(super) fn range(&mut self) -> KeyRange {
        let mut options = ListOptions::new();
        options = match self.below(4) {
            0 => options.start(self.key()),
            1 => options.start_after(self.key()),
            _ => options,
        };
        if self.below(3) == 0 {
            options = options.end(self.key());
        }
        if self.below(3) == 0 {
            options = options.prefix(self.key());
        }
        if self.below(2) == 0 {
            options = options.limit(1 + self.index(5));
        }
        if self.below(2) == 0 {
            options = options.reverse();
        }
        options.to_range().unwrap()
    }
}
