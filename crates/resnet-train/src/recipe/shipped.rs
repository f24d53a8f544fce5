use super::Recipe;
use crate::Result;

/// A recipe that comes with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Its name, and that of its file in `recipes/`.
    pub name: &'static str,
    /// Its text, comments included.
    pub text: &'static str,
}

/// Name of the recipe that is trained when none is named.
pub const DEFAULT: &str = "fashion-sample";

macro_rules! shipped {
    ($name:literal) => {
        Shipped { name: $name, text: include_str!(concat!("../../../../recipes/", $name, ".toml")) }
    };
}

impl Shipped {
    /// Name of the embedded data set.
    pub const SAMPLE: &str = "fashion-mnist-sample";

    /// All of them.
    pub const ALL: [Shipped; 5] = [
        shipped!("fashion-sample"),
        shipped!("fashion-mnist-28"),
        shipped!("d2l-fashion-mnist-96"),
        shipped!("photos"),
        shipped!("finetune"),
    ];

    /// The recipe of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name == name)
    }

    /// Its first line of comment: what it is.
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Recipe`](crate::Error::Recipe) would be a mistake in the program; tests read all of them.
    pub fn recipe(&self) -> Result<Recipe> {
        Recipe::parse(self.name, self.text)
    }
}
