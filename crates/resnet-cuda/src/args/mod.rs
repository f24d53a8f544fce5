//! What a kernel takes: one structure by value, with a twin of the same layout in its source.
//!
//! [`args!`](macro@crate::args) declares such a structure. It is `repr(C)` and must have no padding, which is checked when it is
//! compiled; its bytes are written field by field, so nothing here depends on how Rust would lay it out.
//! A machine compares the number of bytes with what the compiled kernel says before the first launch.
//!
//! - [`map`]: tensors as Hopper's tensor memory accelerator knows them.

pub mod map;

/// The bytes of a kernel's arguments, as whole words, so that they are aligned for any field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    words: Vec<u64>,
    bytes: usize,
    /// Descriptions of tensors, and from which word on they lie.
    maps: Vec<(usize, map::TensorMap)>,
}

impl Packed {
    /// The bytes of one structure.
    pub fn of(args: &impl Pack) -> Self {
        let mut packed = Packed::default();
        args.pack(&mut packed);
        packed
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The words; the last may be half used.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    fn push_u32(&mut self, value: u32) {
        match self.words.last_mut() {
            Some(last) if !self.bytes.is_multiple_of(8) => *last |= u64::from(value) << 32,
            _ => self.words.push(u64::from(value)),
        }
        self.bytes += 4;
    }

    fn push_u64(&mut self, value: u64) {
        self.words.push(value);
        self.bytes += 8;
    }
}

// A word is written with its first field in the lower half.
const _: () =
    assert!(cfg!(target_endian = "little"), "kernel arguments are packed for little-endian machines");

/// A value that can be handed to a kernel.
pub trait Pack {
    /// Bytes it takes.
    const BYTES: usize;

    /// Appends it.
    fn pack(&self, out: &mut Packed);
}

impl Pack for u32 {
    const BYTES: usize = 4;
    fn pack(&self, out: &mut Packed) {
        out.push_u32(*self);
    }
}

impl Pack for f32 {
    const BYTES: usize = 4;
    fn pack(&self, out: &mut Packed) {
        out.push_u32(self.to_bits());
    }
}

impl Pack for u64 {
    const BYTES: usize = 8;
    fn pack(&self, out: &mut Packed) {
        out.push_u64(*self);
    }
}

impl<T: Pack, const N: usize> Pack for [T; N] {
    const BYTES: usize = N * T::BYTES;
    fn pack(&self, out: &mut Packed) {
        self.iter().for_each(|item| item.pack(out));
    }
}

/// Declares structures that kernels take, or parts of such.
///
/// ```
/// resnet_cuda::args! {
///     /// Twin of `FillArgs` in a source.
///     pub(crate) struct FillArgs {
///         to: u64,
///         n: u32,
///         value: f32,
///     }
/// }
/// let packed = resnet_cuda::args::Packed::of(&FillArgs { to: 1, n: 2, value: 0.0 });
/// assert_eq!(packed.bytes(), 16);
/// ```
#[macro_export]
macro_rules! args {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[repr(C)]
        $vis struct $name {
            $(
                #[allow(missing_docs, reason = "documented in the kernel's source")]
                pub $field: $type,
            )*
        }

        impl $crate::args::Pack for $name {
            const BYTES: usize = 0 $(+ <$type as $crate::args::Pack>::BYTES)*;
            fn pack(&self, out: &mut $crate::args::Packed) {
                $($crate::args::Pack::pack(&self.$field, out);)*
            }
        }

        const _: () = assert!(
            size_of::<$name>() == <$name as $crate::args::Pack>::BYTES,
            "reorder the fields: a kernel's arguments have no padding"
        );
    )*};
}
