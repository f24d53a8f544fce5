//! Floats that begin on a cache line; much of them lies in huge pages, where the system has them.
//!
//! A step walks through gigabytes of activations. In pages of 4 KiB nearly every stretch it reads begins with a miss of the
//! address cache, in pages of 2 MiB none does. Where the system refuses huge pages, or is another one than Linux, the same
//! memory lies in small ones, and nothing else changes.

use std::collections::TryReserveError;

use memmap2::MmapMut;

/// Bytes of a cache line, and the alignment of everything.
const LINE: usize = 64;

/// Bytes of a huge page. What is smaller comes from the allocator.
const HUGE: usize = 2 << 20;

/// Zeros at first, all of them touched, so that no op meets a page fault.
#[derive(Default)]
pub(crate) struct Memory {
    from: Origin,
    /// Where the first cache line, or huge page, begins, in floats.
    start: usize,
    len: usize,
}

enum Origin {
    Allocator(Vec<f32>),
    System(MmapMut),
}

impl Default for Origin {
    fn default() -> Self {
        Origin::Allocator(Vec::new())
    }
}

impl Memory {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Result<Self, TryReserveError> {
        if len >= HUGE / size_of::<f32>()
            && let Some(memory) = Self::huge(len)
        {
            return Ok(memory);
        }
        let slack = LINE / size_of::<f32>();
        let mut words: Vec<f32> = Vec::new();
        words.try_reserve_exact(len.saturating_add(slack))?;
        words.resize(len + slack, 0.0);
        let start = words.as_ptr().align_offset(LINE).min(slack);
        Ok(Self { from: Origin::Allocator(words), start, len })
    }

    /// The same from the system, in huge pages if it has any. None if it gives no memory this way.
    fn huge(len: usize) -> Option<Self> {
        let bytes = len.checked_mul(size_of::<f32>())?;
        let mut map = MmapMut::map_anon(bytes.checked_add(HUGE)?).ok()?;
        let start = map.as_ptr().align_offset(HUGE);
        // Whole huge pages only: a last one that is begun would be given in full, up to 2 MiB of every tensor.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, start, bytes / HUGE * HUGE); // refused: slower, no more
        map.get_mut(start..start + bytes)?.fill(0);
        Some(Self { from: Origin::System(map), start: start / size_of::<f32>(), len })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn floats(&self) -> &[f32] {
        let all = match &self.from {
            Origin::Allocator(words) => words,
            Origin::System(map) => bytemuck::cast_slice(map),
        };
        &all[self.start..self.start + self.len]
    }

    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        let all = match &mut self.from {
            Origin::Allocator(words) => words,
            Origin::System(map) => bytemuck::cast_slice_mut(map),
        };
        &mut all[self.start..self.start + self.len]
    }

    /// As [`Memory::take`], for numbers of any type that fits into floats.
    pub(crate) fn take_as<T: bytemuck::Pod>(&mut self, len: usize) -> &mut [T] {
        let floats = (len * size_of::<T>()).div_ceil(size_of::<f32>());
        &mut bytemuck::cast_slice_mut(self.take(floats))[..len]
    }

    /// The first `len` floats of memory that grows to the largest length ever asked for, with whatever they held, or zeros.
    pub(crate) fn take(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            *self = Self::default(); // what was there is given back first
            *self = Self::zeros(len).unwrap_or_else(|_| Self {
                from: Origin::Allocator(vec![0.0; len]),
                start: 0,
                len,
            });
        }
        &mut self.floats_mut()[..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_and_small_begin_on_a_line_and_hold_what_is_written() {
        for len in [1, 5, 100_000, HUGE / 4 - 1, HUGE / 4, HUGE + 3] {
            let mut memory = Memory::zeros(len).unwrap();
            assert_eq!(memory.len(), len);
            assert_eq!(memory.floats().as_ptr().align_offset(LINE), 0);
            assert!(memory.floats().iter().all(|&v| v == 0.0));
            memory.floats_mut()[len - 1] = 7.0;
            assert_eq!(memory.floats()[len - 1], 7.0);
        }
        assert!(Memory::zeros(usize::MAX / 8).is_err());
    }

    #[test]
    fn memory_grows_and_never_shrinks() {
        let mut memory = Memory::default();
        assert_eq!(memory.take(3).len(), 3);
        assert_eq!(memory.take(HUGE).len(), HUGE);
        memory.take(10)[9] = 1.0;
        assert_eq!((memory.len(), memory.floats()[9]), (HUGE, 1.0));
    }
}
