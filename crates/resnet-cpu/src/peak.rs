//! What this machine can do at most, measured: the roof that [`Peak`] is named after in a roofline.
//!
//! Source: Williams, Waterman & Patterson, *Roofline: An Insightful Visual Performance Model for Multicore Architectures*, 2009.

use std::time::Instant;

use crate::engine::Engine;
use crate::kernels::peak;
use crate::memory::Memory;

/// The most that the threads of a backend do together, in units per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// Floating-point operations in f32, with the widest instructions that the backend uses; a multiply-add is two.
    pub flops: f64,
    /// Bytes read from memory.
    pub read_bytes: f64,
    /// Bytes read and bytes written by a copy in memory, together.
    pub copy_bytes: f64,
}

/// Tries; the best counts, since other programs only make it worse.
const TRIES: usize = 5;

/// Pieces that threads share out among themselves, so that none waits long for another.
const PIECES: usize = 64;

/// Floats of each of two arrays: far more than caches hold.
const FLOATS: usize = 64 << 20;

impl Peak {
    /// Measures for about a second; 512 MiB of memory are taken for it and given back.
    pub(crate) fn measure(engine: &Engine) -> Self {
        /// Rounds of one piece: some milliseconds.
        const ROUNDS: usize = 200_000;
        let (isa, threads) = (engine.isa, &engine.threads);
        let per_round = peak::multiply_adds(isa, 1).0;
        let flops = best(|| {
            threads.run(0..PIECES, |_, _| {
                std::hint::black_box(peak::multiply_adds(isa, ROUNDS));
            });
        });
        let mut arrays = [Memory::default(), Memory::default()];
        let [from, to] = arrays.each_mut().map(|array| array.take(FLOATS));
        let piece = FLOATS / PIECES;
        let read = best(|| {
            threads.run(from.chunks_exact(piece), |from, _| {
                let mut total = 0.0;
                peak::read(isa, from, &mut total);
                std::hint::black_box(total);
            });
        });
        let copy = best(|| {
            let pairs = from.chunks_exact(piece).zip(to.chunks_exact_mut(piece));
            threads.run(pairs, |(from, to), _| to.copy_from_slice(std::hint::black_box(from)));
        });
        let bytes = (FLOATS * size_of::<f32>()) as f64;
        Self {
            flops: (2 * per_round * ROUNDS * PIECES) as f64 / flops,
            read_bytes: bytes / read,
            copy_bytes: 2.0 * bytes / copy,
        }
    }
}

/// Seconds of the fastest try.
fn best(mut run: impl FnMut()) -> f64 {
    let seconds = || {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    std::iter::repeat_with(seconds).take(TRIES).fold(f64::INFINITY, f64::min)
}

impl std::fmt::Display for Peak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [flops, read, copy] = [self.flops, self.read_bytes, self.copy_bytes].map(|v| v / 1e9);
        write!(f, "{flops:.0} GFLOP/s, {read:.0} GB/s read, {copy:.0} GB/s copied (read and written)")
    }
}
