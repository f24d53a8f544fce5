//! A driver that answers as the environment of its compilation says. Compiled to a shared library by `tests/probe.rs`.

use std::ffi::{c_char, c_int, c_uint};

fn setting(value: &str) -> c_int {
    value.parse().expect("a number")
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> c_int {
    setting(env!("FAKE_INIT"))
}

/// # Safety
/// `out` points to an int.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(out: *mut c_int) -> c_int {
    // SAFETY: the caller promises that `out` points to an int.
    unsafe { *out = setting(env!("FAKE_VERSION")) };
    0
}

/// # Safety
/// `out` points to an int.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(out: *mut c_int) -> c_int {
    // SAFETY: the caller promises that `out` points to an int.
    unsafe { *out = setting(env!("FAKE_COUNT")) };
    0
}

/// # Safety
/// `out` points to an int.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(out: *mut c_int, ordinal: c_int) -> c_int {
    // SAFETY: the caller promises that `out` points to an int.
    unsafe { *out = 1000 + ordinal };
    0
}

/// # Safety
/// `out` has room for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(out: *mut c_char, len: c_int, device: c_int) -> c_int {
    let name = format!("Fake {}", device - 1000);
    assert!((name.len() as c_int) < len);
    for (i, byte) in name.bytes().chain([0]).enumerate() {
        // SAFETY: the caller promises `len` bytes at `out`, and the assertion above keeps `i` below `len`.
        unsafe { *out.add(i) = byte as c_char };
    }
    0
}

/// # Safety
/// `out` points to an int.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(out: *mut c_int, attribute: c_int, _device: c_int) -> c_int {
    // The numbers of the two attributes are those of `cuda.h`.
    let value = match attribute {
        75 => setting(env!("FAKE_MAJOR")),
        76 => setting(env!("FAKE_MINOR")),
        _ => return 1,
    };
    // SAFETY: the caller promises that `out` points to an int.
    unsafe { *out = value };
    0
}

/// # Safety
/// `out` points to a size.
#[cfg(not(old))]
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(out: *mut usize, _device: c_int) -> c_int {
    // SAFETY: the caller promises that `out` points to a size.
    unsafe { *out = 3 << 29 };
    0
}
