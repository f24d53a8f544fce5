//! From a picture file to the bytes a network reads.

use std::path::{Path, PathBuf};

use resnet_core::preprocessing::Preprocessing;
use resnet_core::rng::{Purpose, Stream};
use resnet_train::data::transform::Scratch;
use resnet_train::data::{Picture, Pipeline, decode};

/// A picture file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The operating system refused to open or read it.
    #[error("{}: cannot read: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is no picture, or a damaged one.
    #[error("{}: {reason}; a PNG, JPEG, WebP, BMP or GIF picture wanted", .path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// The network reads a number of channels that pictures do not come in.
    #[error("a network of {0} channels cannot look at picture files; 1 (grey) or 3 (colour) wanted")]
    Channels(usize),
    /// It reads pictures larger than any transform makes.
    #[error(transparent)]
    Size(#[from] resnet_train::Error),
}

/// Reads picture files as a network wants them: its channels, its size, its order of colours.
///
/// Decoded as [`decode`] says: turned upright, transparency on white. A colour picture becomes grey as in PIL's `convert("L")`.
#[derive(Debug)]
pub struct PictureReader {
    channels: usize,
    pipeline: Pipeline,
    scratch: Scratch,
}

impl PictureReader {
    /// For a network that was trained with this pre-processing.
    ///
    /// # Errors
    /// [`PictureError::Channels`] for anything but 1 and 3; [`PictureError::Size`] for a size no picture is resized to.
    pub fn new(preprocessing: &Preprocessing) -> Result<Self, PictureError> {
        let channels = preprocessing.mean.len();
        if channels != 1 && channels != 3 {
            return Err(PictureError::Channels(channels));
        }
        let pipeline = Pipeline::for_evaluation(preprocessing)?;
        Ok(Self { channels, pipeline, scratch: Scratch::default() })
    }

    /// Reads one file: `height × width × channels` bytes.
    ///
    /// # Errors
    /// [`PictureError::Io`] and [`PictureError::Decode`], with the path.
    pub fn read(&mut self, path: &Path) -> Result<Vec<u8>, PictureError> {
        let bytes =
            std::fs::read(path).map_err(|source| PictureError::Io { path: path.to_owned(), source })?;
        self.decode(path, &bytes)
    }

    /// The same for the content of a file; `path` is for errors.
    ///
    /// # Errors
    /// [`PictureError::Decode`], with the path.
    pub fn decode(&mut self, path: &Path, bytes: &[u8]) -> Result<Vec<u8>, PictureError> {
        let mut picture = Picture::default();
        decode::decode(bytes, &mut picture)
            .map_err(|reason| PictureError::Decode { path: path.to_owned(), reason })?;
        self.fit(picture)
    }

    /// The same for a picture that is decoded already, grey or in colour.
    ///
    /// # Errors
    /// [`PictureError::Size`] for a size that cannot be resized.
    pub fn fit(&mut self, mut picture: Picture) -> Result<Vec<u8>, PictureError> {
        match self.channels {
            1 => decode::to_grey(&mut picture),
            _ => decode::to_colour(&mut picture),
        }
        // Nothing in the pipeline is random; the interface wants a stream all the same.
        self.pipeline.apply(&mut picture, &mut self.scratch, &mut Stream::new(0, Purpose::Augment, 0, 0))?;
        Ok(picture.pixels)
    }
}

/// Extensions that a folder is searched for.
const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];

/// The picture files these paths name: files as they are, folders by what is in them and their folders, sorted by name.
///
/// # Errors
/// [`PictureError::Io`] for a path that is not there or cannot be listed.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, PictureError> {
    let mut found = vec![];
    for path in paths {
        let meta =
            std::fs::metadata(path).map_err(|source| PictureError::Io { path: path.clone(), source })?;
        if meta.is_dir() { folder(path, &mut found)? } else { found.push(path.clone()) }
    }
    Ok(found)
}

fn folder(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), PictureError> {
    let io = |source| PictureError::Io { path: path.to_owned(), source };
    let mut entries = std::fs::read_dir(path).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().map_err(io)?);
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        if kind.is_dir() {
            folder(&path, found)?; // links are not followed: they can lead in circles
        } else if extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use resnet_core::preprocessing::ChannelOrder;

    use image::{GrayImage, Luma, Rgb, RgbImage};

    fn reader(channels: usize, height: usize, width: usize) -> Result<PictureReader, PictureError> {
        PictureReader::new(&Preprocessing::exact(height, width, vec![0.5; channels], vec![0.5; channels]))
    }

    #[test]
    fn files_come_out_in_the_network_s_shape() {
        let dir = tempfile::tempdir().unwrap();
        let grey = dir.path().join("grey.png");
        GrayImage::from_fn(8, 8, |x, y| Luma([(x * 20 + y) as u8])).save(&grey).unwrap();
        let same = reader(1, 8, 8).unwrap().read(&grey).unwrap();
        assert_eq!(same[..9], [0, 20, 40, 60, 80, 100, 120, 140, 1], "an equal size is left alone");
        let color = reader(3, 8, 8).unwrap().read(&grey).unwrap();
        assert_eq!(color[3..6], [20, 20, 20]);

        let wide = dir.path().join("wide.png");
        RgbImage::from_fn(30, 10, |x, _| if x < 15 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) })
            .save(&wide)
            .unwrap();
        let squeezed = reader(3, 1, 2).unwrap().read(&wide).unwrap();
        assert!(squeezed[0] > 200 && squeezed[5] > 200, "both halves are there: {squeezed:?}");
        let mut blue_first = Preprocessing::exact(1, 2, vec![0.5; 3], vec![0.5; 3]);
        blue_first.channel_order = ChannelOrder::Bgr;
        let turned = PictureReader::new(&blue_first).unwrap().read(&wide).unwrap();
        assert_eq!([turned[2], turned[3]], [squeezed[0], squeezed[5]]);
        for (h, w) in [(5, 9), (9, 5), (40, 3), (1, 1)] {
            assert_eq!(reader(3, h, w).unwrap().read(&wide).unwrap().len(), h * w * 3);
        }
    }

    #[test]
    fn what_is_no_picture_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text.png");
        std::fs::write(&path, "not a picture").unwrap();
        let message = reader(1, 8, 8).unwrap().read(&path).unwrap_err().to_string();
        assert!(message.contains("text.png") && message.contains("wanted"), "{message}");
        assert!(reader(2, 8, 8).is_err());
        assert!(find(&[dir.path().join("absent")]).is_err());
        assert_eq!(find(&[dir.path().to_owned()]).unwrap(), [path]);
    }
}
