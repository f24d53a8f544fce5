use super::{Padding, window_output};
use crate::{DType, Error, Result, TensorDesc};

/// A 2-D convolution (cross-correlation, as every deep-learning library means it).
///
/// # Shapes
/// | tensor | host order | extents                  | dtype      |
/// |--------|------------|--------------------------|------------|
/// | `x`    | NHWC       | `n × h × w × c`          | activation |
/// | `w`    | KRSC       | `k × r × s × c / groups` | f32        |
/// | `bias` | K          | `k`                      | f32        |
/// | `y`    | NHWC       | `n × p × q × k`          | activation |
///
/// with `p = (h + top + bottom − r) / stride + 1`, rounded down, and `q` alike.
///
/// # Semantics
/// `y[n,p,q,k] = bias[k] + Σ_{r,s,c} x[n, p·stride − top + r, q·stride − left + s, c] · w[k,r,s,c]`,
/// where `c` runs over the channels of the group that `k` belongs to.
/// Pixels outside `x` are zero **after** the source was evaluated: padding is not normalised.
/// A fully connected layer is the case `h = w = r = s = 1`.
///
/// # Errors
/// [`Conv2d::new`] refuses zero extents, `c` or `k` not divisible by `groups`, and a window larger than the padded image.
///
/// # Cost
/// `2·n·p·q·k·r·s·c/groups` floating-point operations in each of the three directions.
///
/// # Source
/// Padding arithmetic: Dumoulin & Visin, *A guide to convolution arithmetic for deep learning*, 2016.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
    k: usize,
    r: usize,
    s: usize,
    p: usize,
    q: usize,
    stride: usize,
    padding: Padding,
    groups: usize,
    dtype: DType,
}

impl Conv2d {
    /// Describes a convolution of `x` (`n`, `h`, `w`, `c`) with `k` kernels of `r × s`.
    ///
    /// # Errors
    /// See the type.
    pub fn new(
        x: (usize, usize, usize, usize),
        k: usize,
        (r, s): (usize, usize),
        stride: usize,
        padding: Padding,
        groups: usize,
        dtype: DType,
    ) -> Result<Self> {
        let (n, h, w, c) = x;
        if n == 0 || c == 0 || k == 0 || groups == 0 {
            return Err(Error::invalid(
                "conv2d",
                format!("batch {n}, channels {c}, kernels {k} and groups {groups} must all be at least 1"),
            ));
        }
        if !c.is_multiple_of(groups) || !k.is_multiple_of(groups) {
            return Err(Error::invalid(
                "conv2d",
                format!("{groups} groups must divide both {c} input and {k} output channels"),
            ));
        }
        let p = window_output("conv2d rows", h, (padding.top, padding.bottom), r, stride)?;
        let q = window_output("conv2d columns", w, (padding.left, padding.right), s, stride)?;
        Ok(Self { n, h, w, c, k, r, s, p, q, stride, padding, groups, dtype })
    }

    /// Describes a fully connected layer: `n × c` to `n × k`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an extent is zero.
    pub fn linear(n: usize, c: usize, k: usize, dtype: DType) -> Result<Self> {
        Self::new((n, 1, 1, c), k, (1, 1), 1, Padding::default(), 1, dtype)
    }

    /// Batch.
    pub fn n(&self) -> usize {
        self.n
    }
    /// Input rows.
    pub fn h(&self) -> usize {
        self.h
    }
    /// Input columns.
    pub fn w(&self) -> usize {
        self.w
    }
    /// Input channels.
    pub fn c(&self) -> usize {
        self.c
    }
    /// Output channels.
    pub fn k(&self) -> usize {
        self.k
    }
    /// Kernel rows.
    pub fn r(&self) -> usize {
        self.r
    }
    /// Kernel columns.
    pub fn s(&self) -> usize {
        self.s
    }
    /// Output rows.
    pub fn p(&self) -> usize {
        self.p
    }
    /// Output columns.
    pub fn q(&self) -> usize {
        self.q
    }
    /// Step of the window in both directions.
    pub fn stride(&self) -> usize {
        self.stride
    }
    /// Zeros around the image.
    pub fn padding(&self) -> Padding {
        self.padding
    }
    /// Number of independent groups of channels.
    pub fn groups(&self) -> usize {
        self.groups
    }
    /// Element type of `x` and `y`.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The input.
    pub fn x_desc(&self) -> TensorDesc {
        TensorDesc::activation(self.dtype, self.n, self.h, self.w, self.c)
    }
    /// The kernels.
    pub fn w_desc(&self) -> TensorDesc {
        TensorDesc::weight(self.k, self.r, self.s, self.c / self.groups)
    }
    /// The bias.
    pub fn bias_desc(&self) -> TensorDesc {
        TensorDesc::table(1, self.k)
    }
    /// The output.
    pub fn y_desc(&self) -> TensorDesc {
        TensorDesc::activation(self.dtype, self.n, self.p, self.q, self.k)
    }

    /// Multiply-accumulates of one direction, padded taps counted.
    pub fn macs(&self) -> u64 {
        (self.n * self.p * self.q * self.k) as u64 * (self.r * self.s * self.c / self.groups) as u64
    }
}
