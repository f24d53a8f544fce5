//! Long lists in messages: a deep network has hundreds of tensors.

use std::fmt::Display;

/// Names that a message lists before it says how many more there are.
const N_NAMED: usize = 12;

/// The first names of a list, and how many there are beside them: `a, b and 3 more`.
pub fn few<T: Display>(names: impl ExactSizeIterator<Item = T>) -> String {
    let n = names.len();
    let named: Vec<String> = names.take(N_NAMED).map(|name| name.to_string()).collect();
    match n.saturating_sub(N_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::few;

    #[test]
    fn a_long_list_is_cut_and_counted() {
        assert_eq!(few(0..3), "0, 1, 2");
        assert_eq!(few(0..12), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11");
        assert_eq!(few(0..100), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 88 more");
    }
}
