//! Which kernels compute a convolution. The one place.
//!
//! There are three ways: kernels of this crate on ordinary units, the same on tensor cores ([`tensor`](crate::tensor)), and
//! cuDNN ([`cudnn`](crate::cudnn)). On a device preparation times the ways that may be taken, tiles of tensor cores among them (on Hopper
//! those of its warpgroups too, for 1×1 convolutions of stride 1), and keeps the fastest, see `tune`; on the emulator, and where tuning is switched off, rules decide:
//!
//! | dtype | usual | why |
//! |---|---|---|
//! | f32 | ordinary units | true f32; tensor cores would round operands to 10 bits of mantissa |
//! | bf16, f16 | tensor cores | operands are 16 bits in memory, so nothing more is rounded |
//! | either, grouped | ordinary units | a group has too few channels to fill a tile |
//!
//! `RESNET_CUDA_KERNEL` forces a choice, for tests and comparisons:
//! `auto` (the default), `simt` (ordinary units for everything), `tensor` (tensor cores of this crate where nothing more is rounded),
//! `wgmma` (as `tensor`, with Hopper's warpgroups wherever they can; an error on another device),
//! `tf32` (as `auto`, and f32 may be rounded to tf32), `cudnn` (cuDNN wherever it accepts a convolution).
//! `RESNET_CUDA_TUNING=off` times nothing. `RESNET_CUDA_NARROW_GRADIENTS=on` lets cuDNN round gradients of weights to the tensors' 16 bits,
//! which PyTorch's autocast does too and this crate's kernels do not. `RESNET_CUDA_NARROW_NORMS=on` lets it round a normalisation's scale and shift to
//! f16 where an f16 convolution reads through one, which its engines want that were compiled in advance.
//!
//! - [`task`]: a convolution as it is asked for: direction, shape, and what is fused with it.
//! - `likely`: the tasks of a step; [`graphs`]: the graphs of cuDNN for one.
//! - [`ways`]: the ways there are, and which is chosen.
//! - `select`: the fastest of several, with warm-up, repeats and medians.
//! - `tune`: candidates of the tasks of a step; `trial`: those of one tried on a device; `lab`: operands, results that are compared, and the clock.
//! - [`plans`]: choices on disk.

pub mod graphs;
mod lab;
mod likely;
pub mod plans;
pub mod select;
pub mod task;
mod trial;
pub(crate) mod tune;
pub mod ways;

use resnet_core::op::Conv2d;
use resnet_core::{DType, Error, Result};

use crate::cudnn::plan::Rounding;
use crate::tensor::Element;

/// The variable that forces a choice.
const VARIABLE: &str = "RESNET_CUDA_KERNEL";

/// How kernels for convolutions are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The fastest that rounds nothing more than the tensors are rounded already.
    #[default]
    Auto,
    /// Ordinary units only.
    Simt,
    /// Tensor cores of this crate where they round nothing more than the tensors are rounded already.
    Tensor,
    /// As [`Choice::Tensor`], with the instructions of Hopper's warpgroups for 1×1 convolutions of stride 1 in 16 bits.
    Wgmma,
    /// As [`Choice::Auto`], and f32 operands may be rounded to tf32.
    Tf32,
    /// cuDNN wherever it accepts a convolution, true f32 for f32.
    Cudnn,
}

impl Choice {
    /// All of them.
    pub const ALL: [Choice; 6] =
        [Choice::Auto, Choice::Simt, Choice::Tensor, Choice::Wgmma, Choice::Tf32, Choice::Cudnn];

    /// What the environment says, or the usual.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a word that is none of these.
    pub fn of_environment() -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(word) => Self::named(&word),
            Err(_) => Ok(Self::default()),
        }
    }

    fn named(word: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|choice| choice.name() == word);
        match named {
            None if word.is_empty() => Ok(Self::default()),
            Some(choice) => Ok(choice),
            None => {
                let words = Self::ALL.map(Self::name).join(", ");
                Err(Error::invalid(VARIABLE, format!("`{word}` is none of {words}")))
            }
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Choice::Auto => "auto",
            Choice::Simt => "simt",
            Choice::Tensor => "tensor",
            Choice::Wgmma => "wgmma",
            Choice::Tf32 => "tf32",
            Choice::Cudnn => "cudnn",
        }
    }

    /// What a convolution multiplies on tensor cores with kernels of this crate, or `None` for ordinary units.
    pub(crate) fn element(self, op: &Conv2d) -> Option<Element> {
        let element = match self {
            Choice::Simt => None,
            Choice::Tf32 if op.dtype() == DType::F32 => Some(Element::Tf32),
            _ => Element::of_narrow(op.dtype()),
        };
        element.filter(|element| element.supports(op))
    }

    /// Whether cuDNN may be asked.
    pub(crate) fn asks_cudnn(self) -> bool {
        matches!(self, Choice::Auto | Choice::Tf32 | Choice::Cudnn)
    }

    /// How f32 may be rounded.
    pub(crate) fn rounding(self) -> Rounding {
        if self == Choice::Tf32 { Rounding::Tf32 } else { Rounding::None }
    }
}

/// What a variable says, `on` or `off`.
///
/// # Errors
/// [`Error::Invalid`] for another word.
pub(crate) fn switch(variable: &'static str, usual: bool) -> Result<bool> {
    match std::env::var(variable).as_deref() {
        Ok("off") => Ok(false),
        Ok("on") => Ok(true),
        Ok("") | Err(_) => Ok(usual),
        Ok(word) => Err(Error::invalid(variable, format!("`{word}` is neither on nor off"))),
    }
}

#[cfg(test)]
mod tests {
    use resnet_core::op::Padding;

    use super::*;

    fn conv(groups: usize, dtype: DType) -> Conv2d {
        Conv2d::new((2, 8, 8, 64), 64, (3, 3), 1, Padding::all(1), groups, dtype).expect("is valid")
    }

    #[test]
    fn words_and_what_they_choose() {
        for choice in Choice::ALL {
            assert_eq!(Choice::named(choice.name()).expect("known"), choice);
        }
        assert_eq!(Choice::named("").expect("known"), Choice::Auto);
        let error = Choice::named("fast").expect_err("unknown").to_string();
        assert!(error.contains("RESNET_CUDA_KERNEL") && error.contains("`fast`"), "{error}");
        assert!(error.contains("auto, simt, tensor, wgmma, tf32, cudnn"), "{error}");

        let (f32, bf16) = (conv(1, DType::F32), conv(1, DType::Bf16));
        assert_eq!(
            [Choice::Simt, Choice::Tensor, Choice::Auto].map(|choice| choice.element(&f32)),
            [None; 3]
        );
        assert_eq!(Choice::Tf32.element(&f32), Some(Element::Tf32));
        assert_eq!(Choice::Tensor.element(&bf16), Some(Element::Bf16));
        assert_eq!(Choice::Auto.element(&bf16), Some(Element::Bf16));
        assert_eq!(Choice::Simt.element(&bf16), None);
        assert_eq!(Choice::Tf32.element(&conv(2, DType::Bf16)), None, "grouped");
    }
}
