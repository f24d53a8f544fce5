//! Another number of classes, channels or pixels than the file's.

use resnet_core::Graph;
use resnet_core::zoo::ResNetSpec;

use crate::Result;
use crate::import::Options;

/// Changes network and values to what the options want, with a line for every change of a value.
pub(crate) fn adapt(
    spec: ResNetSpec,
    mut values: Vec<Vec<f32>>,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<(ResNetSpec, Vec<Vec<f32>>)> {
    let (old_channels, old_classes) = (spec.channels, spec.classes);
    let channels = options.channels.unwrap_or(old_channels);
    let classes = options.classes.unwrap_or(old_classes);
    let (height, width) = options.size.unwrap_or((spec.height, spec.width));
    let spec = spec.channels(channels).classes(classes).size(height, width);
    let graph = spec.build()?;

    if classes != old_classes {
        fresh_head(&graph, &mut values, options.seed);
        notes.push(format!("{classes} classes instead of the file's {old_classes}: fc starts fresh"));
    }
    if channels != old_channels {
        if let Some(kernel) = values.first_mut() {
            let window = graph.params()[0].shape[2..].iter().product();
            *kernel = with_channels(kernel, old_channels, channels, window);
        }
        notes.push(match channels {
            1 => format!("1 channel instead of {old_channels}: the first kernels are summed over colours"),
            _ => format!(
                "{channels} channels instead of {old_channels}: the first kernels are repeated and scaled"
            ),
        });
    }
    Ok((spec, values))
}

/// Draws the classifier as [`initial_values`](resnet_core::init::initial_values) does.
pub(crate) fn fresh_head(graph: &Graph, values: &mut [Vec<f32>], seed: u64) {
    for (i, param) in graph.params().iter().enumerate().filter(|(_, p)| p.name.starts_with("fc.")) {
        values[i] = param.init.fill(&param.shape, seed, i as u64);
    }
}

/// One channel: the sum. More: the old ones in turn, times `old / new`, so that a picture of equal channels gives what it gave.
/// As timm does it.
fn with_channels(kernel: &[f32], old: usize, new: usize, window: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(kernel.len() / old * new);
    for filter in kernel.chunks_exact(old * window) {
        let channel = |c: usize| &filter[c % old * window..][..window];
        if new == 1 {
            out.extend((0..window).map(|tap| (0..old).map(|c| channel(c)[tap]).sum::<f32>()));
            continue;
        }
        let scale = old as f32 / new as f32;
        out.extend((0..new).flat_map(&channel).map(|w| w * scale));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::with_channels;

    #[test]
    fn kernels_are_summed_or_repeated() {
        let kernel = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0]; // two filters of three channels, one tap
        assert_eq!(with_channels(&kernel, 3, 1, 1), [6.0, 60.0]);
        assert_eq!(
            with_channels(&kernel, 3, 6, 1),
            [0.5, 1.0, 1.5, 0.5, 1.0, 1.5, 5., 10., 15., 5., 10., 15.]
        );
        assert_eq!(with_channels(&kernel, 3, 2, 1), [1.5, 3.0, 15.0, 30.0]);
    }
}
