use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Rows and columns of a picture, written `96` or `"96x128"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a size must be a number of pixels such as 96, or rows and columns such as \"96x128\""
)]
enum Written {
    Square(usize),
    Text(String),
}

impl Size {
    /// A square.
    pub fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let side = |s: &str| s.parse().ok().filter(|n| *n > 0);
        let (h, w) = s.split_once('x').unwrap_or((s, s));
        match (side(h), side(w)) {
            (Some(height), Some(width)) => Ok(Self { height, width }),
            _ => Err(format!(
                "`{s}` is neither a number of pixels such as 96 nor rows and columns such as 96x128"
            )),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.height == self.width {
            write!(f, "{}", self.width)
        } else {
            write!(f, "{}x{}", self.height, self.width)
        }
    }
}

impl TryFrom<Written> for Size {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Square(side) => side.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Size> for Written {
    fn from(size: Size) -> Self {
        if size.height == size.width { Written::Square(size.width) } else { Written::Text(size.to_string()) }
    }
}
