//! Inner loops of max-pooling over a tile of values.

use super::kernel;

kernel! {
    /// The tap that starts a window: its values are the best so far.
    fn first(value: &[f32], tap: u8, best: &mut [f32], index: &mut [u8]) {
        best.copy_from_slice(value);
        index.fill(tap);
    }
}

kernel! {
    /// Replaces the best where a value is larger, or the first NaN. `index` may be empty.
    fn compete(value: &[f32], tap: u8, best: &mut [f32], index: &mut [u8]) {
        if index.is_empty() {
            for (b, &v) in best.iter_mut().zip(value) {
                // A best that is a NaN is never less than or equal to a value, and nothing replaces it.
                *b = if v > *b || (v.is_nan() && !b.is_nan()) { v } else { *b };
            }
        } else {
            for ((b, &v), i) in best.iter_mut().zip(value).zip(index) {
                let wins = v > *b || (v.is_nan() && !b.is_nan());
                *b = if wins { v } else { *b };
                *i = if wins { tap } else { *i };
            }
        }
    }
}

kernel! {
    /// Adds the gradient of a window to the input pixel at position `tap` of it, where that pixel won.
    fn route(dy: &[f32], index: &[u8], tap: u8, dx: &mut [f32]) {
        for ((dx, &dy), &i) in dx.iter_mut().zip(dy).zip(index) {
            *dx += if i == tap { dy } else { 0.0 };
        }
    }
}
