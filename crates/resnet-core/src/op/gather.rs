use super::Ingest;
use crate::{Error, Result, TensorDesc};

/// Takes a batch out of pictures that lie on the device, each shifted and mirrored as asked, and normalises it as [`Ingest`] does.
///
/// # Shapes
/// `pictures`: `count × h × w × c`, u8. `picks`: four numbers for each of `n` pictures, see [`Pick`].
/// `affine`: [`TensorDesc::affine`]. `x`: the activation of `n × h × w × c`.
///
/// # Semantics
/// ```text
/// byte[i, y, x, c] = picture[index_i, y + top_i − padding, x' + left_i − padding, c]    x' = mirrored_i ? w − 1 − x : x
/// x[i, y, x, c]    = scale[c] · byte + shift[c]
/// ```
/// A byte beside its picture is 0, and so are all of a pick whose index is no picture.
/// The result has the bits that [`Ingest`] gives for these bytes.
///
/// # Source
/// He et al., *Deep Residual Learning*, arXiv:1512.03385, section 4.2 (padding and a random window, mirrored at random).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gather {
    count: usize,
    padding: usize,
    ingest: Ingest,
}

/// Which picture, and which part of it. On the device four u32: index, top, left, 1 where it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Number of the picture.
    pub index: u32,
    /// Where the window begins in the padded picture, from 0 to twice the padding.
    pub top: u32,
    /// The same for columns.
    pub left: u32,
    /// Whether left and right are exchanged.
    pub mirrored: bool,
}

impl Pick {
    /// No picture: black.
    pub const NONE: Self = Pick { index: u32::MAX, top: 0, left: 0, mirrored: false };

    /// The picks of a batch of `n`.
    pub fn desc(n: usize) -> TensorDesc {
        TensorDesc::labels(4 * n)
    }

    /// As the device has it.
    pub fn to_array(self) -> [u32; 4] {
        [self.index, self.top, self.left, u32::from(self.mirrored)]
    }
}

impl Gather {
    /// Describes a batch, `ingest`, out of `count` pictures with `padding` black pixels on each side.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no picture, or more than a pick can name.
    pub fn new(count: usize, padding: usize, ingest: Ingest) -> Result<Self> {
        if count == 0 || u32::try_from(count).is_err() || padding > 1 << 20 {
            let why =
                format!("{count} pictures with {padding} pixels around; 1 to 2³² and at most 2²⁰ wanted");
            return Err(Error::invalid("gather", why));
        }
        Ok(Self { count, padding, ingest })
    }

    /// Pictures to pick from.
    pub fn count(&self) -> usize {
        self.count
    }
    /// Black pixels on each side.
    pub fn padding(&self) -> usize {
        self.padding
    }
    /// The batch.
    pub fn ingest(&self) -> Ingest {
        self.ingest
    }
    /// All pictures.
    pub fn pictures_desc(&self) -> TensorDesc {
        TensorDesc { n: self.count, ..self.ingest.pixels_desc() }
    }
    /// The picks of a batch.
    pub fn picks_desc(&self) -> TensorDesc {
        Pick::desc(self.ingest.pixels_desc().n)
    }
}
