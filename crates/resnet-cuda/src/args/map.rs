//! Tensors as Hopper's tensor memory accelerator knows them: described here, encoded by the machine that a kernel is launched on.

use super::{Pack, Packed};

/// A matrix in memory and the box of it that one copy brings to shared memory. Twin of `TensorMap` in `kernels/tensor/hopper.cuh`.
///
/// A device gets what its driver makes of this (`cuTensorMapEncodeTiled`); the emulator reads it as it is, as `TensorMapBytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TensorMap {
    /// Where it begins; a multiple of 16. 0: there is none.
    pub address: u64,
    /// Elements of a row.
    pub columns: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes from one row to the next; a multiple of 16.
    pub row_bytes: u64,
    /// Elements of a box along a row.
    pub box_columns: u32,
    /// Rows of a box.
    pub box_rows: u32,
    /// Bytes of an element.
    pub element_bytes: u32,
    /// Whether the places of 16 bytes are exchanged within 128, so that products meet no bank conflict.
    pub swizzled: u32,
    /// Nothing: a device's maps are larger.
    pub unused: [u64; 10],
}

/// Words of a map.
const WORDS: usize = size_of::<TensorMap>() / 8;

impl TensorMap {
    /// No tensor.
    pub const NONE: TensorMap = TensorMap {
        address: 0,
        columns: 0,
        rows: 0,
        row_bytes: 0,
        box_columns: 0,
        box_rows: 0,
        element_bytes: 0,
        swizzled: 0,
        unused: [0; 10],
    };

    /// A dense matrix of 16-bit elements, in boxes of 64 columns (128 bytes) and so many rows.
    pub fn swizzled(address: u64, rows: usize, columns: usize, box_rows: usize) -> Self {
        TensorMap {
            address,
            columns: columns as u64,
            rows: rows as u64,
            row_bytes: 2 * columns as u64,
            box_columns: 64,
            box_rows: box_rows as u32,
            element_bytes: 2,
            swizzled: 1,
            unused: [0; 10],
        }
    }
}

impl Pack for TensorMap {
    const BYTES: usize = size_of::<TensorMap>();

    fn pack(&self, out: &mut Packed) {
        let two = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        if self.address != 0 {
            out.maps.push((out.words.len(), *self));
        }
        [self.address, self.columns, self.rows, self.row_bytes].iter().for_each(|word| word.pack(out));
        two(self.box_columns, self.box_rows).pack(out);
        two(self.element_bytes, self.swizzled).pack(out);
        self.unused.pack(out);
    }
}

impl Packed {
    /// The words with each map replaced by what `encode` makes of it.
    ///
    /// # Errors
    /// Those of `encode`.
    pub fn encoded<E>(
        &self,
        mut encode: impl FnMut(&TensorMap) -> Result<[u64; WORDS], E>,
    ) -> Result<Vec<u64>, E> {
        let mut words = self.words.clone();
        for (at, map) in &self.maps {
            words[*at..*at + WORDS].copy_from_slice(&encode(map)?);
        }
        Ok(words)
    }

    /// Whether there are maps, which a device wants encoded.
    pub fn has_maps(&self) -> bool {
        !self.maps.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::args! {
        struct WithMaps { first: TensorMap, none: TensorMap, second: TensorMap, n: u64, }
    }

    #[test]
    fn only_maps_are_encoded_and_each_in_its_place() {
        let map = |address| TensorMap::swizzled(address, 5, 24, 128);
        let args = WithMaps { first: map(16), none: TensorMap::NONE, second: map(32), n: 7 };
        let packed = Packed::of(&args);
        assert_eq!(packed.bytes(), 3 * 128 + 8);
        assert!(packed.has_maps());
        // As the emulator reads it.
        assert_eq!(packed.words()[..6], [16, 24, 5, 48, 128 << 32 | 64, 1 << 32 | 2]);
        let words = packed.encoded(|map| Ok::<_, ()>([map.address; WORDS])).expect("no errors");
        let wanted: Vec<u64> =
            [[16; WORDS], [0; WORDS], [32; WORDS]].concat().into_iter().chain([7]).collect();
        assert_eq!(words, wanted);
        assert!(!Packed::of(&7u64).has_maps());
    }
}
