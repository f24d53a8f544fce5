use super::{Padding, window_output};
use crate::{DType, Error, Result, TensorDesc};

/// What a max-pool sees outside the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PadValue {
    /// Nothing: outside pixels never win (PyTorch, TensorFlow "same").
    #[default]
    NegInf,
    /// Zeros that compete with the image (Keras Applications, BiT). Differs from `NegInf` where the input can be negative.
    Zero,
}

/// Maximum over a sliding window.
///
/// # Shapes
/// `x`: `n × h × w × c`; `y`: `n × p × q × c`; `index`: u8, shaped as `y`.
///
/// # Semantics
/// The first maximum in row-major order of the window wins, and a NaN wins over everything, as in PyTorch.
/// `index` is the position in the window, `row · s + column`; [`MaxPool::OUTSIDE`] where a zero outside the image won.
/// Backward sends each gradient to the winner; windows may overlap.
///
/// # Errors
/// [`MaxPool::new`] refuses zero extents, a window larger than the padded image or of more than 255 positions, and a
/// padding that reaches as far as the window (a window wholly outside would have no maximum).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaxPool {
    window: Window,
    pad_value: PadValue,
}

/// Mean over a sliding window.
///
/// # Shapes
/// `x`: `n × h × w × c`; `y`: `n × p × q × c`.
///
/// # Semantics
/// Each output is the mean over the pixels of the window that lie **inside** the image (`count_include_pad = False`).
/// Global average pooling is the window that covers the image.
///
/// # Errors
/// As [`MaxPool::new`], without the limit of 255 positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AvgPool {
    window: Window,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Window {
    n: usize,
    h: usize,
    w: usize,
    c: usize,
    r: usize,
    s: usize,
    p: usize,
    q: usize,
    stride: usize,
    padding: Padding,
    dtype: DType,
}

impl Window {
    fn new(
        what: &str,
        (n, h, w, c): (usize, usize, usize, usize),
        (r, s): (usize, usize),
        stride: usize,
        padding: Padding,
        dtype: DType,
    ) -> Result<Self> {
        if n == 0 || c == 0 {
            return Err(Error::invalid(what, format!("batch {n} and channels {c} must both be at least 1")));
        }
        let p = window_output(what, h, (padding.top, padding.bottom), r, stride)?;
        let q = window_output(what, w, (padding.left, padding.right), s, stride)?;
        // Every window must touch the image: the first by its end, the last by its start.
        let outside = |before: usize, window: usize, out: usize, extent: usize| {
            before >= window || (out - 1) * stride >= extent + before
        };
        if outside(padding.top, r, p, h) || outside(padding.left, s, q, w) {
            return Err(Error::invalid(
                what,
                format!("padding {padding:?} leaves a window of {r}×{s} wholly outside an image of {h}×{w}"),
            ));
        }
        Ok(Self { n, h, w, c, r, s, p, q, stride, padding, dtype })
    }
}

macro_rules! window_accessors {
    ($pool:ty) => {
        impl $pool {
            /// Batch.
            pub fn n(&self) -> usize {
                self.window.n
            }
            /// Input rows.
            pub fn h(&self) -> usize {
                self.window.h
            }
            /// Input columns.
            pub fn w(&self) -> usize {
                self.window.w
            }
            /// Channels.
            pub fn c(&self) -> usize {
                self.window.c
            }
            /// Window rows.
            pub fn r(&self) -> usize {
                self.window.r
            }
            /// Window columns.
            pub fn s(&self) -> usize {
                self.window.s
            }
            /// Output rows.
            pub fn p(&self) -> usize {
                self.window.p
            }
            /// Output columns.
            pub fn q(&self) -> usize {
                self.window.q
            }
            /// Step of the window in both directions.
            pub fn stride(&self) -> usize {
                self.window.stride
            }
            /// What lies around the image.
            pub fn padding(&self) -> Padding {
                self.window.padding
            }
            /// Element type.
            pub fn dtype(&self) -> DType {
                self.window.dtype
            }
            /// The input.
            pub fn x_desc(&self) -> TensorDesc {
                let v = &self.window;
                TensorDesc::activation(v.dtype, v.n, v.h, v.w, v.c)
            }
            /// The output.
            pub fn y_desc(&self) -> TensorDesc {
                let v = &self.window;
                TensorDesc::activation(v.dtype, v.n, v.p, v.q, v.c)
            }
        }
    };
}
window_accessors!(MaxPool);
window_accessors!(AvgPool);

impl MaxPool {
    /// The index of an output whose maximum was a padding zero: no input gets its gradient.
    pub const OUTSIDE: u8 = 255;

    /// Describes a max-pool over `x` (`n`, `h`, `w`, `c`) with a window of `r × s`.
    ///
    /// # Errors
    /// See the type.
    pub fn new(
        x: (usize, usize, usize, usize),
        window: (usize, usize),
        stride: usize,
        padding: Padding,
        pad_value: PadValue,
        dtype: DType,
    ) -> Result<Self> {
        if window.0 * window.1 > 255 {
            return Err(Error::invalid(
                "max pool",
                format!("a window of {}×{} has more than 255 positions", window.0, window.1),
            ));
        }
        Ok(Self { window: Window::new("max pool", x, window, stride, padding, dtype)?, pad_value })
    }

    /// What the pool sees outside the image.
    pub fn pad_value(&self) -> PadValue {
        self.pad_value
    }

    /// The winners.
    pub fn index_desc(&self) -> TensorDesc {
        let v = &self.window;
        TensorDesc::index(v.n, v.p, v.q, v.c)
    }
}

impl AvgPool {
    /// Describes an average pool over `x` (`n`, `h`, `w`, `c`) with a window of `r × s`.
    ///
    /// # Errors
    /// See the type.
    pub fn new(
        x: (usize, usize, usize, usize),
        window: (usize, usize),
        stride: usize,
        padding: Padding,
        dtype: DType,
    ) -> Result<Self> {
        Ok(Self { window: Window::new("average pool", x, window, stride, padding, dtype)? })
    }

    /// Describes the mean over each whole image.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an extent is zero.
    pub fn global(x: (usize, usize, usize, usize), dtype: DType) -> Result<Self> {
        Self::new(x, (x.1, x.2), 1, Padding::default(), dtype)
    }

    /// Whether one window covers the whole image.
    pub fn is_global(&self) -> bool {
        let v = &self.window;
        v.p == 1 && v.q == 1 && v.r == v.h && v.s == v.w
    }
}
