//! What a buffer holds: a role, an element type and four extents. Never strides.
//!
//! The physical layout of a buffer belongs to its backend.
//! On the host, at [`upload`](crate::Backend::upload) and [`download`](crate::Backend::download), every tensor is dense in the order its role names.

/// Element type of an activation, and of the compute copy of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum DType {
    /// IEEE single precision.
    #[default]
    F32,
    /// Brain float: 8 exponent bits, 7 stored mantissa bits.
    Bf16,
    /// IEEE half precision: 5 exponent bits, 10 stored mantissa bits. Gradients need a loss scale to stay in its range.
    F16,
}

impl DType {
    /// All types of elements.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];
}

/// The name that precisions, kernels and kept plans go by.
impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

/// What a buffer is for. The role decides the host order and lets a backend choose its own layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Activations and their gradients: `n × h × w × c`, host order NHWC.
    Activation,
    /// Convolution kernels and their gradients: `k × r × s × c/groups`, host order KRSC, always f32 on the host.
    Weight,
    /// Per-channel numbers in f32: `rows × channels`. One row: bias, gamma, beta, running statistics.
    /// Two rows: [`affine`](TensorDesc::affine) or [`moments`](TensorDesc::moments). Three: [`coeffs`](TensorDesc::coeffs).
    Table,
    /// Per-channel sums between the op that takes them and the op that finishes them.
    /// Their representation is private to the backend; they are never uploaded or downloaded.
    Sums,
    /// Pictures as bytes: `n × h × w × c`, u8.
    Pixels,
    /// One class index per picture, u32.
    Labels,
    /// Which window position a max-pool took: u8 per output element; host order NHWC.
    Index,
}

/// Role, element type and extents of one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorDesc {
    /// What the buffer is for.
    pub role: Role,
    /// Element type where the role leaves a choice (activations); f32 otherwise.
    pub dtype: DType,
    /// Batch, or output channels of a weight, or 1.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl TensorDesc {
    /// An activation of `n × h × w × c`.
    pub fn activation(dtype: DType, n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { role: Role::Activation, dtype, n, h, w, c }
    }

    /// A convolution kernel of `k × r × s × c_per_group`.
    pub fn weight(k: usize, r: usize, s: usize, c_per_group: usize) -> Self {
        Self { role: Role::Weight, dtype: DType::F32, n: k, h: r, w: s, c: c_per_group }
    }

    /// `rows` numbers per channel.
    pub fn table(rows: usize, c: usize) -> Self {
        Self { role: Role::Table, dtype: DType::F32, n: 1, h: rows, w: 1, c }
    }

    /// Scale and shift of a normalisation, in this order: a table of two rows.
    pub fn affine(c: usize) -> Self {
        Self::table(2, c)
    }

    /// Batch mean and inverse standard deviation, in this order: a table of two rows.
    pub fn moments(c: usize) -> Self {
        Self::table(2, c)
    }

    /// A, B and C of a [`GradSource`](crate::GradSource), in this order: a table of three rows.
    pub fn coeffs(c: usize) -> Self {
        Self::table(3, c)
    }

    /// The backend's private sums over `c` channels.
    pub fn sums(c: usize) -> Self {
        Self { role: Role::Sums, dtype: DType::F32, n: 1, h: 1, w: 1, c }
    }

    /// Pictures as bytes.
    pub fn pixels(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { role: Role::Pixels, dtype: DType::F32, n, h, w, c }
    }

    /// One class index per picture.
    pub fn labels(n: usize) -> Self {
        Self { role: Role::Labels, dtype: DType::F32, n, h: 1, w: 1, c: 1 }
    }

    /// Window positions of a max-pool's output.
    pub fn index(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { role: Role::Index, dtype: DType::F32, n, h, w, c }
    }

    /// Number of elements on the host.
    pub fn len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Whether there is no element. A valid description never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Display for TensorDesc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}×{}×{}×{}", self.role, self.n, self.h, self.w, self.c)
    }
}

/// Dense host data going up.
#[derive(Clone, Copy, Debug)]
pub enum HostData<'a> {
    /// Activations, weights and tables.
    F32(&'a [f32]),
    /// Pixels and indices.
    U8(&'a [u8]),
    /// Labels.
    U32(&'a [u32]),
}

/// Dense host data coming down.
#[derive(Debug)]
pub enum HostDataMut<'a> {
    /// Activations, weights and tables.
    F32(&'a mut [f32]),
    /// Pixels and indices.
    U8(&'a mut [u8]),
    /// Labels.
    U32(&'a mut [u32]),
}

impl HostData<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            HostData::F32(v) => v.len(),
            HostData::U8(v) => v.len(),
            HostData::U32(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl HostDataMut<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            HostDataMut::F32(v) => v.len(),
            HostDataMut::U8(v) => v.len(),
            HostDataMut::U32(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
