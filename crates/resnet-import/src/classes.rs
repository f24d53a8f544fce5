//! What the classes are called.

use resnet_core::weights::Metadata;

use crate::{Error, Result};

/// The key of safetensors metadata under which the names of the classes are stored, as a JSON list.
pub const METADATA_KEY: &str = "classes";

/// Names of the 1000 classes of ImageNet, one a line, in the order of all libraries' weights. The list is torchvision's.
const IMAGENET: &str = include_str!("../assets/imagenet-1k.txt");

/// The names that a file says, if it says as many as it has classes.
pub(crate) fn stored(metadata: &Metadata, n: usize) -> Result<Option<Vec<String>>> {
    let Some(json) = metadata.get(METADATA_KEY) else { return Ok(None) };
    let names: Vec<String> = serde_json::from_str(json).map_err(|e| {
        Error::Core(resnet_core::Error::Weights(format!(
            "metadata `{METADATA_KEY}` is no list of names: {e}"
        )))
    })?;
    if names.len() != n {
        let why = format!("metadata `{METADATA_KEY}` has {} names for {n} classes", names.len());
        return Err(Error::Core(resnet_core::Error::Weights(why)));
    }
    Ok(Some(names))
}

/// Names of the classes of ImageNet.
pub(crate) fn imagenet() -> Vec<String> {
    IMAGENET.lines().map(str::to_owned).collect()
}

/// Names for classes that nobody named: `class 0`, `class 1`, …
pub fn numbered(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("class {i}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imagenet_has_a_thousand_names_in_the_known_order() {
        let names = imagenet();
        assert_eq!(names.len(), 1000);
        assert_eq!([&names[0], &names[281], &names[999]], ["tench", "tabby", "toilet tissue"]);
    }

    #[test]
    fn a_list_of_another_length_is_refused() {
        let metadata = Metadata::from([(METADATA_KEY.to_owned(), r#"["a","b"]"#.to_owned())]);
        assert_eq!(stored(&metadata, 2).unwrap(), Some(vec!["a".into(), "b".into()]));
        assert!(stored(&metadata, 3).unwrap_err().to_string().contains("2 names for 3 classes"));
        assert_eq!(stored(&Metadata::new(), 3).unwrap(), None);
    }
}
