//! From the result of a pickle to named tensors.
//!
//! A checkpoint is a dictionary, often of dictionaries. Names are joined by dots: `state_dict.conv1.weight`.

use super::MAX_TENSORS;
use super::pickle::{Heap, MAX_DEPTH, Value};
use crate::error::Why;

/// Most values that are looked at. A list may stand in many places of a checkpoint, and is then looked at in each.
const MAX_VISITS: usize = 1 << 20;

/// Calls `leaf` with every tensor and array, and its name. What is neither a tensor nor holds any is passed over.
pub(super) fn walk(heap: &Heap, root: Value, leaf: impl FnMut(String, Value) -> Why<()>) -> Why<()> {
    let mut walker = Walker { heap, leaf, n_visits: 0, n_leaves: 0 };
    walker.visit(root, &mut String::new(), 0)?;
    if walker.n_leaves == 0 {
        return Err(format!("holds no tensors, only {}", heap.describe(root)));
    }
    Ok(())
}

struct Walker<'a, F> {
    heap: &'a Heap,
    leaf: F,
    n_visits: usize,
    n_leaves: usize,
}

impl<F: FnMut(String, Value) -> Why<()>> Walker<'_, F> {
    fn visit(&mut self, value: Value, path: &mut String, depth: usize) -> Why<()> {
        self.n_visits += 1;
        if self.n_visits > MAX_VISITS || depth > MAX_DEPTH || path.len() > 1 << 12 {
            return Err(format!(
                "nested too deeply or too widely at `{}`: at most {MAX_DEPTH} levels and {MAX_VISITS} values are looked at",
                path.chars().take(60).collect::<String>()
            ));
        }
        if let Value::Tensor(_) | Value::Array(_) = value {
            self.n_leaves += 1;
            if self.n_leaves > MAX_TENSORS {
                return Err(format!("more than {MAX_TENSORS} tensors"));
            }
            return (self.leaf)(path.clone(), value);
        }
        let heap = self.heap;
        for (key, item) in heap.pairs(value).unwrap_or_default() {
            match *key {
                Value::Str(_) => self.inside(heap.text(*key).unwrap_or_default(), *item, path, depth)?,
                Value::Int(n) => self.inside(&n.to_string(), *item, path, depth)?,
                _ => {}
            }
        }
        for (i, item) in heap.items(value).unwrap_or_default().iter().enumerate() {
            // Long lists hold numbers, such as the losses of every step.
            if let Value::Tensor(_) | Value::Array(_) | Value::Dict(_) | Value::List(_) | Value::Tuple(_) =
                item
            {
                self.inside(&i.to_string(), *item, path, depth)?;
            }
        }
        Ok(())
    }

    fn inside(&mut self, name: &str, item: Value, path: &mut String, depth: usize) -> Why<()> {
        let outer = path.len();
        if outer > 0 {
            path.push('.');
        }
        path.push_str(name);
        self.visit(item, path, depth + 1)?;
        path.truncate(outer);
        Ok(())
    }
}
