//! Keras networks whose layers are numbered from model to model (`conv2d_40`): only the order of the weights is stable.
//!
//! Weights come in the order in which layers were created. Each kind (kernels, gammas, …) is matched in its own order, so it does
//! not matter whether a layer's moving statistics stand beside its gamma or at the end. Within a residual block the
//! convolutions come in the order of the branch, then the shortcut's; so do the normalisations.

use super::{Renamed, Tensor, keras};
use crate::error::Why;

pub(super) fn matches(tensors: &[Tensor]) -> bool {
    let known = |t: &Tensor| role_of(t).is_some_and(|r| keras::role(r, t.shape.len()).is_some());
    !tensors.is_empty() && tensors.iter().all(known) && tensors.iter().any(|t| t.shape.len() == 4)
}

/// `kernel` of `17/residual/conv2d_3/kernel:0`.
fn role_of(tensor: &Tensor) -> Option<&str> {
    tensor.name.rsplit('/').next()?.split(':').next()
}

/// The convolutions of one block: how many on the branch, and whether the shortcut has one.
#[derive(Debug, PartialEq)]
struct Block {
    n_branch: usize,
    projects: bool,
}

pub(super) fn rename(tensors: &[Tensor]) -> Why<Vec<Option<Renamed>>> {
    let of = |role: &str| -> Vec<usize> {
        (0..tensors.len()).filter(|i| role_of(&tensors[*i]) == Some(role)).collect()
    };
    let kernels = of("kernel");
    let (convs, dense): (Vec<usize>, Vec<usize>) =
        kernels.iter().partition(|i| tensors[**i].shape.len() == 4);
    let windows: Vec<usize> = convs.iter().map(|i| tensors[*i].shape[0]).collect();
    let [fc] = dense[..] else {
        return Err(format!("{} dense layers, 1 wanted: the classifier", dense.len()));
    };
    let Some((_, in_blocks)) = windows.split_first() else { return Err("there are no convolutions".into()) };
    let blocks = blocks(in_blocks)?;

    let n_projections = blocks.iter().filter(|b| b.projects).count();
    let n_branch_norms = 1 + blocks.iter().map(|b| b.n_branch).sum::<usize>();
    let gammas = of("gamma");
    let norms_project = match gammas.len() {
        n if n == n_branch_norms => false,
        n if n == n_branch_norms + n_projections => true,
        n => {
            return Err(format!(
                "{n} normalisations for {} convolutions; one for each, or for each but the {n_projections} of shortcuts, wanted",
                convs.len()
            ));
        }
    };

    let (mut conv_names, mut norm_names) = (vec!["conv1".to_owned()], vec!["bn1".to_owned()]);
    let (mut stage, mut b) = (0, 0);
    for block in &blocks {
        (stage, b) = if stage == 0 || block.projects { (stage + 1, 0) } else { (stage, b + 1) };
        for i in 1..=block.n_branch {
            conv_names.push(format!("layer{stage}.{b}.conv{i}"));
            norm_names.push(format!("layer{stage}.{b}.bn{i}"));
        }
        if block.projects {
            conv_names.push(format!("layer{stage}.{b}.downsample.0"));
        }
        if block.projects && norms_project {
            norm_names.push(format!("layer{stage}.{b}.downsample.1"));
        }
    }

    let mut renamed: Vec<Option<Renamed>> = vec![None; tensors.len()];
    let mut give = |indices: &[usize], names: &[String], what: &str| {
        if indices.len() != names.len() {
            return Err(format!("{} tensors called {what}, {} wanted", indices.len(), names.len()));
        }
        for (i, name) in indices.iter().zip(names) {
            let role = role_of(&tensors[*i]).and_then(|r| keras::role(r, tensors[*i].shape.len()));
            renamed[*i] = role.map(|(role, layout)| (format!("{name}.{role}"), layout));
        }
        Ok(())
    };
    give(&convs, &conv_names, "kernel")?;
    give(&[fc], &["fc".to_owned()], "kernel")?;
    for role in ["gamma", "beta", "moving_mean", "moving_variance"] {
        give(&of(role), &norm_names, role)?;
    }
    let mut biased = conv_names;
    biased.push("fc".to_owned());
    match &of("bias")[..] {
        [only] => give(&[*only], &biased[biased.len() - 1..], "bias")?,
        all => give(all, &biased, "bias")?,
    }
    Ok(renamed)
}

/// Cuts the windows of the convolutions behind the stem into blocks.
fn blocks(windows: &[usize]) -> Why<Vec<Block>> {
    let mut blocks = vec![];
    let mut left = windows;
    while !left.is_empty() {
        let (n_branch, projects) = match left {
            [3, 3, rest @ ..] => (2, rest.first() == Some(&1)),
            // A 1×1 behind a bottleneck is the shortcut's, unless a 3×3 follows: then it begins the next block.
            [1, 3, 1, rest @ ..] => (3, rest.first() == Some(&1) && rest.get(1) != Some(&3)),
            _ => {
                return Err(format!(
                    "convolution {} starts neither two 3×3 nor 1×1, 3×3, 1×1, each with a 1×1 of the shortcut behind",
                    windows.len() - left.len() + 2
                ));
            }
        };
        left = &left[n_branch + usize::from(projects)..];
        blocks.push(Block { n_branch, projects });
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_cut_into_blocks() {
        let cut = |windows: &[usize]| {
            blocks(windows).map(|b| b.iter().map(|b| (b.n_branch, b.projects)).collect::<Vec<_>>())
        };
        assert_eq!(cut(&[3, 3, 3, 3, 1, 3, 3]), Ok(vec![(2, false), (2, true), (2, false)]));
        assert_eq!(cut(&[1, 3, 1, 1, 1, 3, 1, 1, 3, 1, 1]), Ok(vec![(3, true), (3, false), (3, true)]));
        assert!(cut(&[3, 3, 5]).is_err());
    }
}
