//! Finding the network inside a checkpoint: dictionaries around it, and prefixes that wrappers put before its names.

use crate::container::Entry;
use crate::dialect::{Dialect, Source, Tensor};

/// What stands around a state dict, and what wrappers put before its names. Averaged weights come first, as in timm.
const WRAPPERS: [&str; 12] = [
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "_orig_mod",
    "net",
    "network",
    "backbone",
    "encoder",
];

/// What was found inside.
pub(crate) struct Found {
    pub(crate) dialect: Dialect,
    pub(crate) tensors: Vec<Tensor>,
    /// What was taken away before the names, with a dot at the end; empty if nothing was.
    pub(crate) prefix: String,
    /// Tensors that lie elsewhere.
    pub(crate) n_outside: usize,
}

/// Looks for a dialect's names, first as they are, then inside wrappers.
pub(crate) fn find(entries: &[Entry], source: Source, prefix: Option<&str>) -> Option<Found> {
    let (all, numbered) = tensors(entries);
    let mut prefix = prefix.unwrap_or_default().to_owned();
    if !prefix.is_empty() && !prefix.ends_with(['.', '/']) {
        prefix.push('.');
    }
    let mut inside = strip(&all, &prefix);
    // Each wrapper takes something away, so this ends.
    loop {
        // d2l names its stages by number, or puts `net` before: any prefix would do, so the dialect is asked first.
        if let Some(dialect) = Dialect::recognise(&inside, source, numbered) {
            let n_outside = all.len() - inside.len();
            return Some(Found { dialect, tensors: inside, prefix, n_outside });
        }
        let wrapper = WRAPPERS.into_iter().map(|w| format!("{w}.")).find(|w| {
            let inner = strip(&inside, w);
            !inner.is_empty() && contains_kernel(&inner)
        })?;
        inside = strip(&inside, &wrapper);
        prefix += &wrapper;
    }
}

/// A place where torchvision's names stand behind a prefix that is no wrapper, for a hint.
pub(crate) fn hidden_prefix(entries: &[Entry]) -> Option<String> {
    let anchor = "layer1.0.conv1.weight";
    entries.iter().find_map(|e| e.name.strip_suffix(anchor)).filter(|p| !p.is_empty()).map(str::to_owned)
}

fn contains_kernel(tensors: &[Tensor]) -> bool {
    tensors.iter().any(|t| t.shape.len() == 4)
}

/// What begins with a prefix, without it.
fn strip(tensors: &[Tensor], prefix: &str) -> Vec<Tensor> {
    let inner = |t: &Tensor| {
        let name = t.name.strip_prefix(prefix)?.to_owned();
        Some(Tensor { name, ..t.clone() })
    };
    tensors.iter().filter_map(inner).collect()
}

/// All tensors that can be weights, in the order of the file; in that of their numbers if all names begin with one
/// (`0017/conv2d/kernel`), which is then taken away. Also whether they do.
fn tensors(entries: &[Entry]) -> (Vec<Tensor>, bool) {
    let indexed = |name: &str| {
        let (number, rest) = name.split_once('/')?;
        let is_number = number.len() >= 4 && number.bytes().all(|b| b.is_ascii_digit());
        Some((number.parse::<u64>().ok().filter(|_| is_number)?, rest.to_owned()))
    };
    let floats = entries.iter().enumerate().filter(|(_, e)| e.element.is_float());
    let all: Vec<Tensor> =
        floats.map(|(index, e)| Tensor { index, name: e.name.clone(), shape: e.shape.clone() }).collect();
    let numbers: Option<Vec<(u64, String)>> = all.iter().map(|t| indexed(&t.name)).collect();
    let Some(numbers) = numbers else { return (all, false) };
    let mut numbered: Vec<(u64, Tensor)> =
        all.into_iter().zip(numbers).map(|(t, (number, name))| (number, Tensor { name, ..t })).collect();
    numbered.sort_by_key(|(number, _)| *number);
    let is_numbered = !numbered.is_empty();
    (numbered.into_iter().map(|(_, t)| t).collect(), is_numbered)
}
