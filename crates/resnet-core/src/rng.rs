//! Randomness as a pure function: of a seed, a purpose, an epoch and an index, with no state anywhere else.
//!
//! A counter-based generator needs no history: the millionth draw costs what the first one costs.
//! So what a sample looks like does not depend on the number of threads, and a resumed run needs no saved generator.
//!
//! Source of the generator: Salmon, Moraes, Dror and Shaw, *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011.

/// What draws are for. Streams of different purposes are independent.
///
/// The numbers are part of every result: they may be added to, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum Purpose {
    /// The order of an epoch.
    Shuffle = 1,
    /// Crops, flips and erasing; the index is the sample's.
    Augment = 2,
    /// Initial values of parameters; the index is the parameter's.
    Init = 3,
    /// Mixing weights and partners of a batch; the index is the step's.
    Mixup = 4,
    /// Choosing a part of a data set.
    Sample = 5,
    /// Synthetic inputs of benches and tests.
    Synthetic = 6,
    /// Dropping units or blocks; the index is the step's.
    Drop = 7,
}

/// One block of Philox4x32 with ten rounds: a keyed bijection of 128-bit counters.
///
/// Source: Salmon et al. 2011, section 3.3 and table 2 (multipliers and Weyl constants).
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    const ROUNDS: usize = 10;
    for _ in 0..ROUNDS {
        let p0 = u64::from(MULTIPLIER[0]) * u64::from(counter[0]);
        let p1 = u64::from(MULTIPLIER[1]) * u64::from(counter[2]);
        counter = [high(p1) ^ counter[1] ^ key[0], low(p1), high(p0) ^ counter[3] ^ key[1], low(p0)];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

fn low(x: u64) -> u32 {
    x as u32
}

fn high(x: u64) -> u32 {
    (x >> 32) as u32
}

/// A sequence of draws, named by seed, purpose, epoch and index.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    index: u64,
    /// Number of the next block.
    block: u64,
    /// Words of the current block, and how many of them are used up.
    words: [u32; 4],
    n_used: usize,
    /// The second value of the last Box–Muller pair.
    spare_normal: Option<f64>,
}

impl Stream {
    /// The stream of this name. The same name gives the same draws, always.
    pub fn new(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> Self {
        // A counter has 128 bits. One block under the seed turns purpose and epoch into the stream's own key,
        // which leaves 64 bits for the index and 64 for the position.
        let name = [low(epoch), high(epoch), purpose as u32, 0];
        let [k0, k1, ..] = philox4x32(name, [low(seed), high(seed)]);
        Self { key: [k0, k1], index, block: 0, words: [0; 4], n_used: 4, spare_normal: None }
    }

    /// 32 uniform bits.
    pub fn u32(&mut self) -> u32 {
        if self.n_used == self.words.len() {
            let counter = [low(self.block), high(self.block), low(self.index), high(self.index)];
            self.words = philox4x32(counter, self.key);
            self.block += 1;
            self.n_used = 0;
        }
        let word = self.words[self.n_used];
        self.n_used += 1;
        word
    }

    /// 64 uniform bits.
    pub fn u64(&mut self) -> u64 {
        let low = u64::from(self.u32());
        low | u64::from(self.u32()) << 32
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻²⁴.
    pub fn f32(&mut self) -> f32 {
        (self.u32() >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `[low, high)`, up to rounding at the upper end.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Whether an event of probability `p` happens. Never for `p ≤ 0`, always for `p ≥ 1`.
    pub fn chance(&mut self, p: f32) -> bool {
        self.f32() < p
    }

    /// Uniform among `0..n`, without bias. 0 if `n` is 0.
    ///
    /// Source: Lemire, *Fast Random Integer Generation in an Interval*, 2019, algorithm 5.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        if n == 0 {
            return 0;
        }
        let mut product = u128::from(self.u64()) * u128::from(n);
        if (product as u64) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u64) < threshold {
                product = u128::from(self.u64()) * u128::from(n);
            }
        }
        (product >> 64) as usize
    }

    /// Normal with mean 0 and variance 1, computed in f64.
    ///
    /// `ln`, `sin` and `cos` are the platform's: between platforms the last bit of the f64 may differ.
    /// Source: Box and Muller, *A Note on the Generation of Random Normal Deviates*, 1958.
    pub fn normal(&mut self) -> f64 {
        if let Some(value) = self.spare_normal.take() {
            return value;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt(); // 1 − u lies in (0, 1]: the logarithm is finite
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare_normal = Some(radius * sin);
        radius * cos
    }
}

/// A shuffled order of `0..n` that is computed, not stored: any position in constant time and memory.
///
/// A Feistel network permutes the numbers of as few bits as hold `n`; a value outside `0..n` is sent through again
/// until it falls inside (cycle-walking), on average less than twice.
///
/// Source: Black and Rogaway, *Ciphers with Arbitrary Finite Domains*, CT-RSA 2002, sections 4 and 5.
#[derive(Clone, Debug)]
pub struct Permutation {
    n: u64,
    left_bits: u32,
    right_bits: u32,
    round_keys: [u64; Self::N_ROUNDS],
}

impl Permutation {
    /// Small domains need more rounds than a cipher's: with ten, each half is rewritten five times.
    const N_ROUNDS: usize = 10;

    /// The order of one epoch.
    pub fn new(n: usize, seed: u64, epoch: u64) -> Self {
        Self::for_purpose(n, seed, Purpose::Shuffle, epoch)
    }

    /// An order for something else than an epoch.
    pub fn for_purpose(n: usize, seed: u64, purpose: Purpose, epoch: u64) -> Self {
        let bits = u64::BITS - (n as u64).saturating_sub(1).leading_zeros();
        let mut stream = Stream::new(seed, purpose, epoch, n as u64);
        let round_keys = std::array::from_fn(|_| stream.u64());
        Self { n: n as u64, left_bits: bits / 2, right_bits: bits - bits / 2, round_keys }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.n as usize
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The element at position `i`. A position outside `0..n` is its own element.
    pub fn get(&self, i: usize) -> usize {
        let mut x = i as u64;
        if x >= self.n {
            return i;
        }
        loop {
            x = self.feistel(x);
            if x < self.n {
                return x as usize;
            }
        }
    }

    /// All elements in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Each round adds to one half a function of the other, which the same round undoes: a bijection.
    fn feistel(&self, x: u64) -> u64 {
        let (left_mask, right_mask) = (ones(self.left_bits), ones(self.right_bits));
        let (mut left, mut right) = (x >> self.right_bits, x & right_mask);
        for pair in self.round_keys.chunks_exact(2) {
            left ^= mix(right ^ pair[0]) & left_mask;
            right ^= mix(left ^ pair[1]) & right_mask;
        }
        left << self.right_bits | right
    }
}

fn ones(bits: u32) -> u64 {
    (1u64 << bits) - 1 // at most 32 bits: half of a u64
}

/// The finaliser of SplitMix64: every input bit reaches every output bit.
///
/// Source: Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014 (variant 13 of Stafford).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
