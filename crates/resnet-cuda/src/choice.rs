//! Which kernels compute a convolution. The one place.
//!
//! | dtype | usual | why |
//! |---|---|---|
//! | f32 | ordinary units | true f32; tensor cores would round operands to 10 bits of mantissa |
//! | bf16, f16 | tensor cores | operands are 16 bits in memory, so nothing more is rounded |
//! | either, grouped | ordinary units | a group has too few channels to fill a tile |
//!
//! `RESNET_CUDA_KERNEL` forces a choice, for tests and comparisons: `simt` (ordinary units for everything),
//! `tensor` (the usual one, said), `tf32` (tensor cores for f32 too).

use resnet_core::op::Conv2d;
use resnet_core::{DType, Error, Result};

use crate::tensor::Element;

/// The variable that forces a choice.
const VARIABLE: &str = "RESNET_CUDA_KERNEL";

/// How kernels for convolutions are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Ordinary units only.
    Simt,
    /// Tensor cores where they round nothing more than the tensors are rounded already.
    #[default]
    Tensor,
    /// Tensor cores wherever they can, f32 operands rounded to tf32.
    Tf32,
}

impl Choice {
    /// What the environment says, or the usual.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a word that is none of the three.
    pub fn of_environment() -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(word) => Self::named(&word),
            Err(_) => Ok(Self::default()),
        }
    }

    fn named(word: &str) -> Result<Self> {
        match word {
            "simt" => Ok(Choice::Simt),
            "" | "tensor" => Ok(Choice::Tensor),
            "tf32" => Ok(Choice::Tf32),
            _ => Err(Error::invalid(VARIABLE, format!("`{word}` is none of simt, tensor and tf32"))),
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Choice::Simt => "simt",
            Choice::Tensor => "tensor",
            Choice::Tf32 => "tf32",
        }
    }

    /// What a convolution multiplies on tensor cores, or `None` for ordinary units.
    pub(crate) fn element(self, op: &Conv2d) -> Option<Element> {
        let element = match (self, op.dtype()) {
            (Choice::Tensor | Choice::Tf32, DType::Bf16) => Element::Bf16,
            (Choice::Tensor | Choice::Tf32, DType::F16) => Element::F16,
            (Choice::Tf32, DType::F32) => Element::Tf32,
            (Choice::Simt, _) | (Choice::Tensor, DType::F32) => return None,
        };
        element.supports(op).then_some(element)
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
        for choice in [Choice::Simt, Choice::Tensor, Choice::Tf32] {
            assert_eq!(Choice::named(choice.name()).expect("known"), choice);
        }
        let error = Choice::named("fast").expect_err("unknown").to_string();
        assert!(error.contains("RESNET_CUDA_KERNEL") && error.contains("`fast`"), "{error}");

        let (f32, bf16) = (conv(1, DType::F32), conv(1, DType::Bf16));
        assert_eq!([Choice::Simt, Choice::Tensor].map(|choice| choice.element(&f32)), [None, None]);
        assert_eq!(Choice::Tf32.element(&f32), Some(Element::Tf32));
        assert_eq!(Choice::Tensor.element(&bf16), Some(Element::Bf16));
        assert_eq!(Choice::Simt.element(&bf16), None);
        assert_eq!(Choice::Tf32.element(&conv(2, DType::Bf16)), None, "grouped");
    }
}
