//! Matrix products on AMX tiles: f32 through pieces of bf16, and the same arithmetic in plain Rust.
//!
//! AMX multiplies bf16 and adds up in f32, about 17 times as many products per cycle as fused multiply-adds of f32.
//! An f32 is the sum of three bf16 ([`split`]), so a product of two f32 is a sum of nine products of bf16, of which the largest
//! six are enough for the accuracy of f32: what is left out is at most `2⁻²³` of a product, and on average far less.
//! (Henry, Tang & Heinecke, *Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations*, 2019.)
//!
//! | products | pieces | left out of a product, at most | for |
//! |----------|--------|--------------------------------|-----|
//! | 6 | 3 | `2⁻²³` | f32 |
//! | 3 | 2 | `2⁻¹⁴·⁴` | f32 where less accuracy will do |
//! | 1 | 1 | nothing, of numbers that are bf16 | bf16 |
//!
//! A sum of more than [`CHUNK`] terms is cut: each part starts from zero in the tiles, and the parts are added in f32.
//! One chain over thousands of terms would round each small addend against the whole sum.
//!
//! # What differs from f32
//! - Subnormal numbers are taken for zero, also pieces of normal numbers below `2⁻¹⁰³`.
//! - An infinity times a number whose lower pieces are zero makes a NaN (`∞ · 1 = ∞ + ∞ · 0 + ∞ · 0`). So a result that reads
//!   an infinity is infinite or NaN, never finite.
//! - A product within `2⁻⁷` of the largest f32 may become infinite or NaN.
//!
//! # Modules, in reading order
//! - [`split`]: numbers in pieces. [`tile`]: the instructions. [`emulate`]: the same in plain Rust. [`product`]: a block of the
//!   result by one of both. [`detect`]: whether there are tiles. [`check`]: whether they compute what they should.
//!   [`speed`]: whether they are faster than AVX-512.

mod check;
mod detect;
mod emulate;
mod product;
mod speed;
pub(crate) mod split;
#[cfg(test)]
mod tests;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tile;

pub(crate) use product::{Left, product};
pub(crate) use speed::{TERMS, USES};
pub(crate) use split::{BLOCK, PIECE};

use std::sync::OnceLock;

use super::Isa;

/// Terms that are summed in one chain.
pub(crate) const CHUNK: usize = 512;

/// How many products of pieces stand for one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Products {
    /// The operands are bf16.
    One,
    /// `h·h + h·m + m·h`.
    Three,
    /// And `m·m + h·l + l·h`.
    Six,
}

impl Products {
    /// Pieces that operands are split into.
    pub(crate) fn pieces(self) -> usize {
        match self {
            Products::One => 1,
            Products::Three => 2,
            Products::Six => 3,
        }
    }

    pub(crate) fn count(self) -> usize {
        match self {
            Products::One => 1,
            Products::Three => 3,
            Products::Six => 6,
        }
    }
}

/// Who multiplies. Tiles exist only where they were found, permitted and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Tiles,
    Emulation,
}

/// Who wants tiles, which decides what they are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The user: all that fills them well enough.
    Asked,
    /// The program: only what they are certainly faster at.
    Chosen,
}

/// A way to multiply matrices by pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amx {
    unit: Unit,
    isa: Isa,
    products: Products,
    role: Role,
}

/// What came of looking for tiles.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    Tiles(Amx),
    /// This machine, or its system, has none.
    Nothing,
    /// They compute something else than they should.
    Wrong,
    /// They are right, but AVX-512 is faster.
    Slow,
}

impl Found {
    pub(crate) fn tiles(self) -> Option<Amx> {
        match self {
            Found::Tiles(amx) => Some(amx),
            Found::Nothing | Found::Wrong | Found::Slow => None,
        }
    }
}

impl Amx {
    /// The tiles of this machine, for a user who asks for them.
    pub(crate) fn find(products: Products) -> Found {
        static FOUND: [OnceLock<Found>; 3] = [const { OnceLock::new() }; 3];
        *FOUND[products.pieces() - 1].get_or_init(|| match Isa::avx512() {
            Some(isa) if detect::usable() => {
                let tiles = Amx { unit: Unit::Tiles, isa, products, role: Role::Asked };
                if check::passes(tiles) { Found::Tiles(tiles) } else { Found::Wrong }
            }
            _ => Found::Nothing,
        })
    }

    /// The tiles of this machine, where they are faster than AVX-512. It is measured once, so that all of a process agrees.
    pub(crate) fn find_faster(products: Products) -> Found {
        static FOUND: [OnceLock<Found>; 3] = [const { OnceLock::new() }; 3];
        *FOUND[products.pieces() - 1].get_or_init(|| match Self::find(products) {
            Found::Tiles(tiles) if speed::pays(tiles) => Found::Tiles(Amx { role: Role::Chosen, ..tiles }),
            Found::Tiles(_) => Found::Slow,
            other => other,
        })
    }

    /// The same arithmetic on any machine, slowly.
    pub(crate) fn emulated(products: Products, role: Role) -> Self {
        Amx { unit: Unit::Emulation, isa: Isa::detect(), products, role }
    }

    /// Whether tiles are emulated.
    pub(crate) fn is_emulated(self) -> bool {
        self.unit == Unit::Emulation
    }

    /// Whether the program takes them unasked.
    pub(crate) fn is_chosen(self) -> bool {
        self.role == Role::Chosen
    }

    /// Itself, if an op is not better left to Winograd's algorithm, which may serve it too. Six products are at best 85 of f32
    /// a cycle, where fused multiply-adds are 32; Winograd's algorithm makes 32 worth 72 to 128.
    /// One and three products are ahead of both.
    pub(crate) fn beside(self, winograd: bool) -> Option<Self> {
        let yields = winograd && self.is_chosen() && self.products == Products::Six;
        (!yields).then_some(self)
    }

    /// What people are told.
    pub(crate) fn name(self) -> &'static str {
        match (self.unit, self.products) {
            (Unit::Tiles, Products::One) => "AMX in bf16",
            (Unit::Tiles, Products::Three) => "AMX with f32 as two bf16",
            (Unit::Tiles, Products::Six) => "AMX with f32 as three bf16",
            (Unit::Emulation, Products::One) => "AMX emulated in bf16",
            (Unit::Emulation, Products::Three) => "AMX emulated with f32 as two bf16",
            (Unit::Emulation, Products::Six) => "AMX emulated with f32 as three bf16",
        }
    }

    pub(crate) fn products(self) -> Products {
        self.products
    }

    /// Splits numbers one by one: piece `p` of `values[i]` goes to `out[p · plane + i]`.
    pub(crate) fn split(self, values: &[f32], out: &mut [u16], plane: usize) {
        match self.products {
            Products::One => split::split::<1>(self.isa, values, out, plane),
            Products::Three => split::split::<2>(self.isa, values, out, plane),
            Products::Six => split::split::<3>(self.isa, values, out, plane),
        }
    }

    /// Splits up to 32 rows of 32 numbers as a right operand; see [`split::split_pairs`].
    pub(crate) fn split_pairs(self, values: &[f32], out: &mut [u16]) {
        match self.products {
            Products::One => split::split_pairs::<1>(self.isa, values, out),
            Products::Three => split::split_pairs::<2>(self.isa, values, out),
            Products::Six => split::split_pairs::<3>(self.isa, values, out),
        }
    }

    /// Makes the tiles of this thread ready, until the result is dropped.
    pub(crate) fn enter(self) -> Entered {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self.unit == Unit::Tiles {
            // SAFETY: `Unit::Tiles` is made by `find` alone, after `detect::usable` has found AMX and permission to use it.
            unsafe { tile::configure() }
        }
        Entered { amx: self, here: std::marker::PhantomData }
    }
}

/// A thread whose tiles are ready. It stays on that thread.
pub(crate) struct Entered {
    amx: Amx,
    here: std::marker::PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self.amx.unit == Unit::Tiles {
            // SAFETY: as in `Amx::enter`, which made this value.
            unsafe { tile::release() }
        }
    }
}
