//! Test data: a pure function of a seed, so that a failing case is reproduced from what it prints.

/// A stream of numbers (SplitMix64; Steele, Lea & Flood, *Fast Splittable Pseudorandom Number Generators*, 2014).
#[derive(Clone, Debug)]
pub struct Data {
    state: u64,
}

impl Data {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// A number between `lo` and `hi`.
    pub fn between(&mut self, lo: f32, hi: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u64 << 24) as f32;
        lo + (hi - lo) * unit
    }

    /// Numbers between −1 and 1. One in sixteen is exactly zero, where a mask must not keep the gradient.
    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| if self.below(16) == 0 { 0.0 } else { self.between(-1.0, 1.0) }).collect()
    }

    /// Numbers between `lo` and `hi`.
    pub fn range(&mut self, n: usize, lo: f32, hi: f32) -> Vec<f32> {
        (0..n).map(|_| self.between(lo, hi)).collect()
    }

    /// Quarters between −2 and 2: f32 adds and multiplies thousands of them without rounding.
    pub fn quarters(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.below(17) as f32 - 8.0) / 4.0).collect()
    }

    /// Whole numbers from `0` to `n − 1` in random order, as eighths around zero: no two are alike, and f32 holds them exactly.
    pub fn distinct(&mut self, n: usize) -> Vec<f32> {
        let mut values: Vec<f32> = (0..n).map(|i| (i as f32 - (n / 2) as f32) / 8.0).collect();
        for i in (1..n).rev() {
            values.swap(i, self.below(i + 1));
        }
        values
    }

    /// Scale and shift per channel. Scales have either sign and stay away from zero.
    pub fn affine(&mut self, c: usize) -> Vec<f32> {
        let scale = (0..c).map(|_| {
            let size = self.between(0.5, 2.0);
            if self.below(4) == 0 { -size } else { size }
        });
        let mut table: Vec<f32> = scale.collect();
        table.extend(self.range(c, -1.0, 1.0));
        table
    }

    /// Scales that are powers of two, of either sign, and shifts that are quarters: exact on exact data.
    pub fn exact_affine(&mut self, c: usize) -> Vec<f32> {
        let mut table: Vec<f32> = (0..c).map(|_| [0.5, 1.0, 2.0, -1.0][self.below(4)]).collect();
        table.extend(self.quarters(c));
        table
    }

    /// Mean and inverse standard deviation per channel.
    pub fn moments(&mut self, c: usize) -> Vec<f32> {
        let mut table = self.range(c, -1.0, 1.0);
        table.extend(self.range(c, 0.5, 2.0));
        table
    }
}
