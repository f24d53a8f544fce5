//! Any point of the space of specs builds or says why not; nothing panics and nothing overflows.

use proptest::prelude::*;
use resnet_core::zoo::{
    self, Block, Conventions, InitScheme, PaddingStyle, ResNetSpec, Shortcut, Stem, Variant, Width,
};

/// Mostly sensible numbers, with the edges among them.
fn extent(largest: usize) -> impl Strategy<Value = usize> {
    prop_oneof![200 => 1..=largest, 10 => Just(1), 1 => Just(0), 2 => Just(zoo::MAX_EXTENT), 1 => Just(usize::MAX)]
}

fn conventions() -> impl Strategy<Value = Conventions> {
    let init = prop_oneof![
        Just(InitScheme::Torchvision),
        Just(InitScheme::Pytorch),
        Just(InitScheme::Keras),
        Just(InitScheme::Paddle)
    ];
    let padding = prop_oneof![Just(PaddingStyle::Symmetric), Just(PaddingStyle::Same)];
    let eps = prop_oneof![40 => Just(1e-5f32), 1 => Just(0.0), 1 => Just(f32::NAN)];
    (any::<[bool; 8]>(), eps, init, padding).prop_map(|(flags, norm_eps, init, padding)| Conventions {
        conv_bias: flags[0],
        norm_eps,
        norm_momentum: 0.1,
        unbiased_running_var: flags[1],
        padding,
        v2_stride_first: flags[2],
        zero_init_residual: flags[3],
        init,
        count_statistics: flags[4],
        bias_before_norm: flags[5],
        stem_pool_zeros: flags[6],
        v2_stride_last_block: flags[7],
    })
}

prop_compose! {
    fn spec()(
        stages in prop::collection::vec((1usize..4, extent(40), extent(40)), 1..6),
        variant in prop::sample::select(Variant::ALL.to_vec()),
        block in prop::sample::select(vec![Block::Basic, Block::Bottleneck]),
        stem in prop::sample::select(vec![Stem::Imagenet, Stem::Deep, Stem::Tiered, Stem::Small]),
        shortcut in prop::sample::select(vec![
            Shortcut::Projection, Shortcut::BareProjection, Shortcut::ZeroPad, Shortcut::Pooled,
        ]),
        groups in prop_oneof![9 => Just(1usize), 1 => 0usize..6],
        picture in (extent(5), extent(70), extent(70)),
        ends in (extent(70), extent(12)),
        conventions in conventions(),
    ) -> ResNetSpec {
        ResNetSpec {
            arch: "any".into(),
            variant,
            block,
            depths: stages.iter().map(|s| s.0).collect(),
            widths: stages.iter().map(|s| Width { middle: s.1, out: s.2 }).collect(),
            groups,
            stem,
            stem_width: ends.0,
            shortcut,
            conventions,
            channels: picture.0,
            height: picture.1,
            width: picture.2,
            classes: ends.1,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_spec_builds_or_says_why_not(spec in spec()) {
        match spec.build() {
            Ok(graph) => {
                let summary = spec.summary().map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(graph.classes(), spec.classes);
                prop_assert_eq!(summary.trainable_params, graph.trainable_params());
                let counted = if spec.conventions.count_statistics { graph.state_params() } else { 0 };
                prop_assert_eq!(summary.total_params, graph.trainable_params() + counted);
                prop_assert_eq!(summary.layers.iter().map(|l| l.macs).sum::<u64>(), graph.macs());
                prop_assert!(summary.to_string().lines().all(|l| l.chars().count() <= 100));
                let n_adds = graph.nodes().iter().filter(|n| n.name.ends_with("add")).count();
                let n_blocks: usize = spec.depths.iter().sum();
                prop_assert_eq!(n_adds, if spec.variant == Variant::Plain { 0 } else { n_blocks });
            }
            Err(e) => prop_assert!(e.to_string().len() > 10, "{}", e),
        }
    }

    #[test]
    fn a_valid_spec_of_usual_numbers_always_builds(
        spec in spec(), channels in 1usize..5, height in 1usize..70, width in 1usize..70, classes in 2usize..12,
    ) {
        let mut spec = spec.channels(channels).size(height, width).classes(classes).zero_init_residual(false);
        spec.conventions.norm_eps = 1e-5;
        spec.groups = 1;
        spec.stem_width = 6;
        for (i, w) in spec.widths.iter_mut().enumerate() {
            *w = Width { middle: 4, out: 6 * (i + 1) };
        }
        let built = spec.build();
        prop_assert!(built.is_ok(), "{:?}", built.err().map(|e| e.to_string()));
    }

    #[test]
    fn a_spec_survives_json(spec in spec()) {
        prop_assume!(!spec.conventions.norm_eps.is_nan());
        let json = serde_json::to_string(&spec).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(serde_json::from_str::<ResNetSpec>(&json).ok(), Some(spec));
    }

    #[test]
    fn any_text_is_a_name_or_an_error(name in "[a-z]{0,9}[0-9]{0,22}[v._d-]{0,2}[0-9a-z_.-]{0,8}") {
        if let Ok(spec) = zoo::arch(&name) {
            prop_assert_eq!(spec.arch, name);
        }
    }
}
