use crate::{DType, Error, Result, TensorDesc};

/// Turns pictures as bytes into normalised activations: `x = scale[c] · byte + shift[c]`.
///
/// # Shapes
/// `pixels`: `n × h × w × c`, u8. `affine`: [`TensorDesc::affine`]. `x`: the activation of the same extents.
///
/// # Semantics
/// With the usual mean and standard deviation of pixels scaled to 0…1: `scale = 1 / (255·std)`, `shift = −mean / std`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ingest {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
    dtype: DType,
}

impl Ingest {
    /// Describes a batch of `n` pictures of `h × w × c`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an extent is zero.
    pub fn new(n: usize, h: usize, w: usize, c: usize, dtype: DType) -> Result<Self> {
        if n == 0 || h == 0 || w == 0 || c == 0 {
            return Err(Error::invalid("ingest", format!("extents {n}×{h}×{w}×{c} must all be at least 1")));
        }
        Ok(Self { n, h, w, c, dtype })
    }

    /// The bytes.
    pub fn pixels_desc(&self) -> TensorDesc {
        TensorDesc::pixels(self.n, self.h, self.w, self.c)
    }
    /// The activation.
    pub fn x_desc(&self) -> TensorDesc {
        TensorDesc::activation(self.dtype, self.n, self.h, self.w, self.c)
    }
}
