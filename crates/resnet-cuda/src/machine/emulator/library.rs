//! The compiled kernels and the memory they work on: the emulator's foreign calls.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use libloading::Library;
use resnet_core::Result;

use super::failed;
use crate::machine::Launch;

/// Geometry, as `emu::Launch` of the shim has it.
#[repr(C)]
struct RawLaunch {
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
}

type Function = unsafe extern "C" fn(*const RawLaunch, *const c_void) -> c_int;

/// What `emu::Failure` of the shim says, from `UNFENCED_PRODUCT` on.
const RULES: [&str; 9] = [
    "a matrix product reads registers that were written without a fence before it",
    "registers were written that a matrix product still reads",
    "matrix products were begun that nobody waited for",
    "a copy counts at a barrier that was not made known to copies by a fence",
    "something that is no barrier was used as one",
    "more arrived at a barrier than it counts",
    "a copy or an operand in shared memory is described as hardware does not take it",
    "copies were begun that nobody waited for",
    "an address beyond shared memory was used",
];

/// A shared library of kernels. It stays loaded for the life of the process.
pub(super) struct Code {
    library: Library,
    /// What was looked for so far.
    found: Mutex<HashMap<String, Option<Kernel>>>,
}

/// A kernel of a library that stays loaded.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    function: Function,
    /// Bytes of its arguments.
    bytes: usize,
}

impl Code {
    /// Loads a library that `build` compiled.
    pub(super) fn load(path: &Path) -> Result<Self> {
        // SAFETY: loading runs initialisers; the library was compiled from this crate's own sources, which have none with
        // effects outside of it.
        let library = unsafe { Library::new(path) }
            .map_err(|error| failed(format!("{} cannot be loaded: {error}", path.display())))?;
        Ok(Code { library, found: Mutex::default() })
    }

    /// The kernel of this name, if the library has it.
    pub(super) fn kernel(&'static self, name: &str) -> Result<Option<Kernel>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = found.get(name) {
            return Ok(*kernel);
        }
        // SAFETY: `KERNEL` in the shim gives every kernel a function of this type under its name.
        let function = unsafe { self.library.get::<Function>(name) };
        let kernel = match function {
            Err(_) => None,
            Ok(function) => {
                let size_of_args = format!("{name}_args_bytes");
                // SAFETY: and a function of this type that tells the size of its arguments.
                let bytes = unsafe { self.library.get::<unsafe extern "C" fn() -> usize>(&size_of_args) };
                let bytes = bytes.map_err(|_| failed(format!("`{name}` is no kernel")))?;
                // SAFETY: it takes nothing and returns a constant.
                Some(Kernel { function: *function, bytes: unsafe { bytes() } })
            }
        };
        found.insert(name.to_owned(), kernel);
        Ok(kernel)
    }
}

impl Kernel {
    /// Runs the kernel to its end, on this thread.
    pub(super) fn launch(&self, launch: &Launch) -> Result<()> {
        let name = &launch.kernel;
        if self.bytes != launch.args.bytes() {
            return Err(failed(format!(
                "`{name}` takes {} bytes of arguments and was given {}; its structure differs between source and host",
                self.bytes,
                launch.args.bytes()
            )));
        }
        let Launch { grid, block, shared_bytes, .. } = *launch;
        if grid.contains(&0) || block.contains(&0) {
            return Err(failed(format!("`{name}` was launched with an empty grid: {grid:?} of {block:?}")));
        }
        if grid[1] > 65_535 || grid[2] > 65_535 {
            return Err(failed(format!("`{name}` was launched with a grid no device takes: {grid:?}")));
        }
        let raw = RawLaunch { grid, block, shared_bytes };
        // SAFETY: the function has this type and its library stays loaded (see `Code::kernel`), `raw` lives over the call, and
        // the words hold as many bytes as the kernel reads, compared above. The addresses in them are those of live allocations,
        // long enough for what the kernel does: `Machine` asks that of whoever fills arguments, and the guards around each
        // allocation are there to catch them.
        match unsafe { (self.function)(&raw, launch.args.words().as_ptr().cast()) } {
            0 => Ok(()),
            1 => Err(failed(format!("`{name}`: some threads wait at a barrier that others never reach"))),
            2 => Err(failed(format!("`{name}`: {block:?} threads are more than it was compiled for"))),
            3 => Err(failed(format!(
                "`{name}`: {shared_bytes} bytes of shared memory are more than there are"
            ))),
            rule => {
                let rule = usize::try_from(rule - 4).ok().and_then(|rule| RULES.get(rule));
                Err(failed(format!("`{name}`: {}", rule.unwrap_or(&"a rule of the emulator was broken"))))
            }
        }
    }
}

/// Bytes in front of and behind every allocation that nobody may write.
const GUARD: usize = 256;

/// What the guards hold: as f32 and bf16 signalling NaNs, as f16 a NaN, so that a read beside an allocation shows.
/// A quiet NaN would come through arithmetic as it was, and an element that is read, changed and written back would not show;
/// every operation makes a signalling one quiet. Half precision is converted, which gives another NaN.
const GUARDS: [u8; GUARD] = {
    let mut bytes = [0; GUARD];
    let mut i = 0;
    while i < GUARD {
        bytes[i] = [0xa1, 0x7f][i % 2];
        i += 1;
    }
    bytes
};

/// An allocation with its guards.
pub(super) struct Block {
    start: NonNull<u8>,
    layout: Layout,
    bytes: usize,
    given: Arc<Mutex<usize>>,
}

// SAFETY: a block is plain bytes, owned by its value; every access goes through `&self` methods of one machine, which is not
// shared between threads, or through kernels that it runs to their end.
unsafe impl Send for Block {}
// SAFETY: as above: nothing reads or writes it but the machine that it belongs to.
unsafe impl Sync for Block {}

impl Block {
    /// Allocates zeros between guards, or says `None` where the system gives no more. Counts its bytes in `given`.
    pub(super) fn zeros(bytes: usize, given: Arc<Mutex<usize>>) -> Option<Self> {
        let layout = Layout::from_size_align(bytes.checked_add(2 * GUARD)?, GUARD).ok()?;
        // SAFETY: the size is not zero, because the guards are not.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        // SAFETY: guard, content and guard are exactly the `bytes + 2 * GUARD` bytes allocated above.
        unsafe {
            start.copy_from_nonoverlapping(NonNull::from(&GUARDS).cast(), GUARD);
            start.add(GUARD).write_bytes(0, bytes);
            start.add(GUARD + bytes).copy_from_nonoverlapping(NonNull::from(&GUARDS).cast(), GUARD);
        }
        *given.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        Some(Block { start, layout, bytes, given })
    }

    /// Where the content begins.
    pub(super) fn address(&self) -> u64 {
        self.start.addr().get() as u64 + GUARD as u64
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The address of `len` bytes from `offset` on.
    fn at(&self, offset: usize, len: usize) -> Result<NonNull<u8>> {
        if offset.checked_add(len).is_none_or(|end| end > self.bytes) {
            return Err(failed(format!("bytes {offset}+{len} of a buffer of {}", self.bytes)));
        }
        // SAFETY: the offset is inside the allocation: the guard, and at most the `bytes` behind it.
        Ok(unsafe { self.start.add(GUARD + offset) })
    }

    pub(super) fn write(&self, offset: usize, from: &[u8]) -> Result<()> {
        let to = self.at(offset, from.len())?;
        // SAFETY: `at` checked the range; `from` is a Rust slice and so lies elsewhere. No kernel runs: launches return when
        // they are done.
        unsafe { to.copy_from_nonoverlapping(NonNull::from(from).cast(), from.len()) };
        Ok(())
    }

    pub(super) fn read(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        let from = self.at(offset, to.len())?;
        // SAFETY: as for `write`, the other way around; every byte was initialised when the block was made.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(&mut *to).cast(), to.len()) };
        Ok(())
    }

    pub(super) fn fill(&self, offset: usize, len: usize, value: u8) -> Result<()> {
        let to = self.at(offset, len)?;
        // SAFETY: `at` checked the range, and no kernel runs.
        unsafe { to.write_bytes(value, len) };
        Ok(())
    }

    /// Where a guard was overwritten, as an offset from the beginning of the content.
    pub(super) fn damage(&self) -> Option<isize> {
        let guard = |from: usize| {
            // SAFETY: both calls below name one of the two guards of the allocation, initialised when it was made. No kernel runs.
            unsafe { std::slice::from_raw_parts(self.start.add(from).as_ptr(), GUARD) }
        };
        let first_wrong = |guard: &[u8]| guard.iter().zip(GUARDS).position(|(&byte, wanted)| byte != wanted);
        let (front, back) = (guard(0), guard(GUARD + self.bytes));
        let front = first_wrong(front).map(|i| i as isize - GUARD as isize);
        front.or_else(|| first_wrong(back).map(|i| (self.bytes + i) as isize))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        // SAFETY: `start` came from `alloc` with this layout and is freed once, here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
