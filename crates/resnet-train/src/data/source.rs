//! Labelled pictures by index: the [`Source`] trait.

use crate::Result;

/// One picture as bytes, rows of pixels of channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels: 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// `height × width × channels` bytes.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// A black picture.
    pub fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels, pixels: vec![0; height * width * channels] }
    }

    /// Gives the picture another size and makes it black, reusing its memory.
    pub fn reset(&mut self, height: usize, width: usize, channels: usize) {
        (self.height, self.width, self.channels) = (height, width, channels);
        self.pixels.clear();
        self.pixels.resize(height * width * channels, 0);
    }

    /// Makes the picture equal to another, reusing its memory.
    pub fn copy_from(&mut self, other: &Picture) {
        (self.height, self.width, self.channels) = (other.height, other.width, other.channels);
        self.pixels.clear();
        self.pixels.extend_from_slice(&other.pixels);
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.width * self.channels
    }
}

/// SHA-256 of everything that training sees of a source.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// Labelled pictures by index.
///
/// Read from several threads at once. The same index gives the same picture, always.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// Number of pictures.
    fn len(&self) -> usize;

    /// Whether there is no picture.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels of every picture.
    fn channels(&self) -> usize;

    /// Height and width, where all pictures have the same.
    fn extent(&self) -> Option<(usize, usize)>;

    /// Class of picture `index < len`.
    fn label(&self, index: usize) -> u32;

    /// What to call picture `index < len` in messages: its file, where it has one.
    fn name(&self, index: usize) -> String {
        format!("picture {index}")
    }

    /// Reads picture `index < len` into memory that is reused from call to call.
    ///
    /// # Errors
    /// [`Error::Picture`](crate::Error::Picture) for one that is broken, naming it: loaders may leave it out.
    fn read(&self, index: usize, into: &mut Picture) -> Result<()>;

    /// Identifies the content: checkpoints refuse to go on with other data.
    ///
    /// # Errors
    /// As [`Source::read`], for sources that read files to answer.
    fn fingerprint(&self) -> Result<Fingerprint>;
}
