//! The families of networks, as functions from a depth to a spec.

use super::{Block, Conventions, InitScheme, PaddingStyle, ResNetSpec, Shortcut, Stem, Variant, Width};

/// Depths of the ImageNet networks: He et al. 2015, table 1, and ResNet-200 of He et al. 2016.
pub(super) const IMAGENET_DEPTHS: [usize; 6] = [18, 34, 50, 101, 152, 200];

/// Depths of the tutorial dialects.
pub(super) const DIALECT_DEPTHS: [usize; 5] = [18, 34, 50, 101, 152];

/// Depths of the CIFAR networks in the papers that are made of basic blocks.
pub(super) const CIFAR_BASIC_DEPTHS: [usize; 6] = [20, 32, 44, 56, 110, 1202];

/// Depths of the CIFAR networks in the papers that are made of bottlenecks.
pub(super) const CIFAR_BOTTLENECK_DEPTHS: [usize; 2] = [164, 1001];

/// ImageNet networks: block and blocks per stage.
fn imagenet_stages(depth: usize) -> Option<(Block, [usize; 4])> {
    Some(match depth {
        18 => (Block::Basic, [2, 2, 2, 2]),
        34 => (Block::Basic, [3, 4, 6, 3]),
        50 => (Block::Bottleneck, [3, 4, 6, 3]),
        101 => (Block::Bottleneck, [3, 4, 23, 3]),
        152 => (Block::Bottleneck, [3, 8, 36, 3]),
        200 => (Block::Bottleneck, [3, 24, 36, 3]),
        _ => return None,
    })
}

/// Widths that double from stage to stage. A bottleneck's output is four times `base`, its middle `middle` times.
fn doubling_widths(block: Block, base: usize, n_stages: usize, middle: f64) -> Vec<Width> {
    (0..n_stages)
        .map(|s| {
            let base = base << s;
            match block {
                Block::Basic => Width { middle: base, out: base },
                Block::Bottleneck => Width { middle: (base as f64 * middle) as usize, out: 4 * base },
            }
        })
        .collect()
}

/// The networks for 224 × 224 pictures, 1000 classes: `resnet18` … `resnet200`, v1.5 as torchvision has them.
pub(super) fn imagenet(depth: usize) -> Option<ResNetSpec> {
    let (block, depths) = imagenet_stages(depth)?;
    Some(ResNetSpec {
        arch: format!("resnet{depth}"),
        variant: Variant::V1_5,
        block,
        depths: depths.to_vec(),
        widths: doubling_widths(block, 64, 4, 1.0),
        groups: 1,
        stem: Stem::Imagenet,
        stem_width: 64,
        shortcut: Shortcut::Projection,
        conventions: Conventions::default(),
        channels: 3,
        height: 224,
        width: 224,
        classes: 1000,
    })
}

/// Grouped bottlenecks. Xie et al. 2016, *Aggregated Residual Transformations*: `cardinality` groups of `base_width`.
pub(super) fn resnext(depth: usize, cardinality: usize, base_width: usize) -> Option<ResNetSpec> {
    let spec = imagenet(depth).filter(|s| s.block == Block::Bottleneck)?;
    let middle = (cardinality * base_width) as f64 / 64.0;
    Some(ResNetSpec {
        groups: cardinality,
        widths: doubling_widths(Block::Bottleneck, 64, 4, middle),
        ..spec
    })
}

/// Bottlenecks whose 3×3 is `factor` times as wide. Zagoruyko & Komodakis 2016, *Wide Residual Networks*.
pub(super) fn wide(depth: usize, factor: usize) -> Option<ResNetSpec> {
    let spec = imagenet(depth).filter(|s| s.block == Block::Bottleneck)?;
    Some(ResNetSpec { widths: doubling_widths(Block::Bottleneck, 64, 4, factor as f64), ..spec })
}

/// Deep stem and pooled shortcuts. He et al. 2018, *Bag of Tricks*; `resnet50d` in timm.
pub(super) fn deep(depth: usize) -> Option<ResNetSpec> {
    Some(ResNetSpec { stem: Stem::Deep, shortcut: Shortcut::Pooled, ..imagenet(depth)? })
}

/// ImageNet widths on small pictures: a 3×3 stem without a pool.
pub(super) fn small(spec: ResNetSpec) -> ResNetSpec {
    ResNetSpec { stem: Stem::Small, classes: 10, ..spec }.size(32, 32)
}

/// The three-stage networks for 32 × 32 pictures, 10 classes.
///
/// Depth 6n+2 of basic blocks with zero-padded shortcuts (He et al. 2015, section 4.2), or 9n+2 of bottlenecks with
/// projections (He et al. 2016, appendix). A depth that is both is of basic blocks, but for the papers' ResNet-164.
pub(super) fn cifar(depth: usize, variant: Variant) -> Option<ResNetSpec> {
    let n = depth.checked_sub(2).filter(|n| *n > 0)?;
    let basic = n.is_multiple_of(6) && !CIFAR_BOTTLENECK_DEPTHS.contains(&depth);
    let (block, n, shortcut) = match basic {
        true => (Block::Basic, n / 6, Shortcut::ZeroPad),
        false if n.is_multiple_of(9) => (Block::Bottleneck, n / 9, Shortcut::Projection),
        false => return None,
    };
    Some(ResNetSpec {
        arch: format!("resnet{depth}-cifar"),
        variant,
        block,
        depths: vec![n; 3],
        widths: doubling_widths(block, 16, 3, 1.0),
        groups: 1,
        stem: Stem::Small,
        stem_width: 16,
        shortcut,
        conventions: Conventions { v2_stride_first: true, ..Conventions::default() },
        channels: 3,
        height: 32,
        width: 32,
        classes: 10,
    })
}

/// Zhang et al., *Dive into Deep Learning*, section 8.6, in PyTorch: biases, and projections without normalisation.
pub(super) fn d2l(depth: usize) -> Option<ResNetSpec> {
    let conventions = Conventions { conv_bias: true, init: InitScheme::Pytorch, ..Conventions::default() };
    let spec = ResNetSpec { shortcut: Shortcut::BareProjection, conventions, ..imagenet(depth)? };
    Some(spec.channels(1).classes(10))
}

/// The same network written in Keras (TensorFlow): its padding, its normalisation, its start.
pub(super) fn keras(depth: usize) -> Option<ResNetSpec> {
    let conventions = Conventions {
        conv_bias: true,
        norm_eps: 1e-3,
        norm_momentum: 0.01,
        unbiased_running_var: false,
        padding: PaddingStyle::Same,
        init: InitScheme::Keras,
        count_statistics: true,
        ..Conventions::default()
    };
    Some(ResNetSpec { conventions, ..d2l(depth)? })
}

/// The network of the PaddlePaddle tutorials: biases everywhere, a normalised projection at the start of every stage.
///
/// Its published counts are for 3 channels and 10 classes and include the running statistics.
/// Depths 18 and 34 double the channels inside the block: a first block goes 64 → 64 → 128.
/// The shape changes at the start of every stage, the first too, so there is always something to project.
pub(super) fn paddle(depth: usize) -> Option<ResNetSpec> {
    let conventions = Conventions {
        conv_bias: true,
        unbiased_running_var: false,
        init: InitScheme::Paddle,
        count_statistics: true,
        ..Conventions::default()
    };
    let mut spec = ResNetSpec { conventions, ..imagenet(depth)? }.classes(10);
    if spec.block == Block::Basic {
        spec.widths = [(64, 128), (128, 256), (256, 512), (512, 512)]
            .map(|(middle, out)| Width { middle, out })
            .to_vec();
    }
    Some(spec)
}
