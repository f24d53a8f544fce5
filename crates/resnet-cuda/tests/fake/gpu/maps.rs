//! The fake driver's descriptions of tensors: checked as a driver does, and written as the emulator's kernels read them.

use std::ffi::{c_int, c_uint, c_void};

const INVALID_VALUE: c_int = 1;

/// Of `cuda.h`.
const UINT16: c_int = 1;
const NO_INTERLEAVE: c_int = 0;
const SWIZZLE_NONE: c_int = 0;
const SWIZZLE_128B: c_int = 3;
const FILL_ZERO: c_int = 0;

/// # Safety
/// As the driver's function of this name.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuTensorMapEncodeTiled(
    map: *mut [u64; 16],
    data_type: c_int,
    rank: c_uint,
    address: *mut c_void,
    extents: *const u64,
    pitches: *const u64,
    part: *const c_uint,
    steps: *const c_uint,
    interleave: c_int,
    swizzle: c_int,
    _promotion: c_int,
    fill: c_int,
) -> c_int {
    if (data_type, rank, interleave, fill) != (UINT16, 2, NO_INTERLEAVE, FILL_ZERO) {
        return INVALID_VALUE;
    }
    // SAFETY: arrays of as many elements as the rank, one pitch less.
    let (columns, rows, pitch, width, height, step) =
        unsafe { (*extents, *extents.add(1), *pitches, *part, *part.add(1), [*steps, *steps.add(1)]) };
    let in_box = |extent: c_uint| (1..=256).contains(&extent);
    let fine = (address as u64).is_multiple_of(16)
        && (1..=1 << 32).contains(&columns)
        && (1..=1 << 32).contains(&rows)
        && pitch.is_multiple_of(16)
        && (2 * columns..1 << 40).contains(&pitch)
        && in_box(width)
        && in_box(height)
        && (2 * width).is_multiple_of(16)
        && step == [1, 1]
        && (swizzle == SWIZZLE_NONE || swizzle == SWIZZLE_128B && 2 * width <= 128)
        && (map as u64).is_multiple_of(64);
    if !fine {
        return INVALID_VALUE;
    }
    let two = |low: c_uint, high: c_uint| u64::from(low) | u64::from(high) << 32;
    let swizzled = c_uint::from(swizzle == SWIZZLE_128B);
    let mut words = [0; 16];
    words[..6].copy_from_slice(&[address as u64, columns, rows, pitch, two(width, height), two(2, swizzled)]);
    // SAFETY: points to a map.
    unsafe { *map = words };
    0
}
