//! The published sets this program can find by name, and where it looks for them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Dataset, InMemory, idx};
use crate::{Error, Result};

/// A published data set of four IDX files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    /// Ten kinds of clothing, 28×28 grey. Xiao, Rasul and Vollgraf, *Fashion-MNIST*, arXiv:1708.07747. MIT licence.
    FashionMnist,
    /// Handwritten digits, 28×28 grey. LeCun, Cortes and Burges.
    Mnist,
}

/// One file as it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfficialFile {
    /// Its name without `.gz`.
    pub name: &'static str,
    /// Its size, unpacked.
    pub bytes: u64,
    /// SHA-256 of its content, unpacked.
    pub sha256: &'static str,
}

const IMAGE_BYTES: u64 = 28 * 28;

const fn file(name: &'static str, bytes: u64, sha256: &'static str) -> OfficialFile {
    OfficialFile { name, bytes, sha256 }
}

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";
const TEST_IMAGES: &str = "t10k-images-idx3-ubyte";
const TEST_LABELS: &str = "t10k-labels-idx1-ubyte";

const FASHION_MNIST: [OfficialFile; 4] = [
    file(
        TRAIN_IMAGES,
        16 + 60_000 * IMAGE_BYTES,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    file(TRAIN_LABELS, 8 + 60_000, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    file(
        TEST_IMAGES,
        16 + 10_000 * IMAGE_BYTES,
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    file(TEST_LABELS, 8 + 10_000, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
];

const MNIST: [OfficialFile; 4] = [
    file(
        TRAIN_IMAGES,
        16 + 60_000 * IMAGE_BYTES,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    file(TRAIN_LABELS, 8 + 60_000, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    file(
        TEST_IMAGES,
        16 + 10_000 * IMAGE_BYTES,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    file(TEST_LABELS, 8 + 10_000, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
];

pub(super) const FASHION_MNIST_CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];
const MNIST_CLASSES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

impl Known {
    /// All of them.
    pub const ALL: [Known; 2] = [Known::FashionMnist, Known::Mnist];

    /// The set of this short name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Short name, for options and directories.
    pub fn name(self) -> &'static str {
        match self {
            Known::FashionMnist => "fashion-mnist",
            Known::Mnist => "mnist",
        }
    }

    /// Name for people.
    pub fn title(self) -> &'static str {
        match self {
            Known::FashionMnist => "Fashion-MNIST",
            Known::Mnist => "MNIST",
        }
    }

    /// Class names in label order.
    pub fn classes(self) -> [&'static str; 10] {
        match self {
            Known::FashionMnist => FASHION_MNIST_CLASSES,
            Known::Mnist => MNIST_CLASSES,
        }
    }

    /// Its files: training images and labels, test images and labels.
    pub fn files(self) -> [OfficialFile; 4] {
        match self {
            Known::FashionMnist => FASHION_MNIST,
            Known::Mnist => MNIST,
        }
    }

    fn hint(self) -> String {
        match self {
            Known::FashionMnist => {
                "`cargo xtask data fashion-mnist` fetches it; `--data-dir` names a directory that has it"
                    .to_owned()
            }
            Known::Mnist => format!(
                "put {} (or the same with .gz) in one of these, or name their directory with `--data-dir`",
                self.files().map(|f| f.name).join(", ")
            ),
        }
    }

    /// The directories that may hold it, in the order they are searched.
    ///
    /// An explicit `data_dir` is the only one: whoever names a directory does not want data from another.
    /// Otherwise `RESNET_DATA_DIR`, the user's data directory, and where Debian's packages put data sets.
    /// `var` reads an environment variable.
    pub fn places(self, data_dir: Option<&Path>, var: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
        places(self.name(), data_dir, var)
    }

    /// The first directory that has any of the files.
    ///
    /// # Errors
    /// [`Error::DataNotFound`], listing what was searched and how to get the set.
    pub fn find(self, data_dir: Option<&Path>) -> Result<PathBuf> {
        self.find_in(self.places(data_dir, |name| std::env::var_os(name)))
    }

    /// The first of these directories that has any of the files.
    ///
    /// # Errors
    /// [`Error::DataNotFound`], as [`Known::find`].
    pub fn find_in(self, places: Vec<PathBuf>) -> Result<PathBuf> {
        match places.iter().find(|dir| self.files().iter().any(|file| file.path_in(dir).exists())) {
            Some(dir) => Ok(dir.clone()),
            None => Err(Error::DataNotFound { name: self.title(), searched: places, hint: self.hint() }),
        }
    }

    /// Reads the four files in `dir`. They may be other pictures in the same format: see [`OfficialFile::check`].
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`] or [`Error::Label`], naming the file.
    pub fn load(self, dir: &Path) -> Result<Dataset> {
        let [train_images, train_labels, test_images, test_labels] = self.files();
        let part = |images: OfficialFile, labels: OfficialFile| -> Result<Arc<InMemory>> {
            let (image_path, label_path) = (images.path_in(dir), labels.path_in(dir));
            let images = idx::read(&image_path, 3)?;
            let labels = idx::read(&label_path, 1)?;
            let names = (image_path.display().to_string(), label_path.display().to_string());
            let n_classes = self.classes().len();
            Ok(Arc::new(idx::labelled((&names.0, images), (&names.1, labels), n_classes)?))
        };
        Dataset::new(
            self.title(),
            dir.display().to_string(),
            self.classes().map(str::to_owned).into(),
            part(train_images, train_labels)?,
            part(test_images, test_labels)?,
        )
    }
}

impl OfficialFile {
    /// Where it lies in `dir`: plain if it is there, else gzipped.
    pub fn path_in(&self, dir: &Path) -> PathBuf {
        let plain = dir.join(self.name);
        if plain.exists() { plain } else { dir.join(format!("{}.gz", self.name)) }
    }

    /// Checks that a file, plain or gzipped, whatever its name, has the published content.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] with both checksums.
    pub fn check(&self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        let mut reader = idx::unpacked(&path.display().to_string(), BufReader::new(file))?;
        let mut content = Vec::new();
        reader.by_ref().take(self.bytes + 1).read_to_end(&mut content).map_err(Error::io(path, "read"))?;
        let found = super::Fingerprint(Sha256::digest(&content).into()).to_string();
        if content.len() as u64 == self.bytes && found == self.sha256 {
            return Ok(());
        }
        let size = if content.len() as u64 > self.bytes {
            format!("more than {} bytes", self.bytes)
        } else {
            format!("{} bytes with SHA-256 {found}", content.len())
        };
        let wanted = format!("{} bytes with SHA-256 {}", self.bytes, self.sha256);
        Err(Error::format(&path.display().to_string(), size, wanted))
    }
}

/// The directories that may hold a set of this name; see [`Known::places`].
pub(super) fn places(
    name: &str,
    data_dir: Option<&Path>,
    var: impl Fn(&str) -> Option<OsString>,
) -> Vec<PathBuf> {
    let itself_or_inside = |dir: &Path| [dir.to_owned(), dir.join(name)];
    if let Some(dir) = data_dir {
        return itself_or_inside(dir).into();
    }
    let mut places = Vec::new();
    if let Some(dir) = var("RESNET_DATA_DIR").filter(|dir| !dir.is_empty()) {
        places.extend(itself_or_inside(Path::new(&dir)));
    }
    places.extend(user_data_dir(&var).map(|dir| dir.join(name)));
    places.push(Path::new("/usr/share/datasets").join(name));
    places
}

/// `$XDG_DATA_HOME/resnet`, or `~/.local/share/resnet`. A relative `XDG_DATA_HOME` is ignored, as its standard asks.
///
/// Source: XDG Base Directory Specification.
pub fn user_data_dir(var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let xdg = var("XDG_DATA_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home =
        || var("HOME").filter(|home| !home.is_empty()).map(|home| Path::new(&home).join(".local/share"));
    xdg.or_else(home).map(|dir| dir.join("resnet"))
}
