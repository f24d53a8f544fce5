//! The published figures of every network, and what each name means.

use resnet_core::graph::{Layer, Shape};
use resnet_core::zoo::{self, Block, Conventions, ResNetSpec, Shortcut, Stem, Variant};
use resnet_core::{Error, Graph};

fn spec(name: &str) -> ResNetSpec {
    zoo::arch(name).unwrap_or_else(|e| panic!("{e}"))
}

fn build(name: &str) -> Graph {
    spec(name).build().unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Name, parameters without running statistics.
fn check_params(table: &[(&str, usize)]) {
    for (name, params) in table {
        assert_eq!(build(name).trainable_params(), *params, "{name}");
    }
}

#[test]
fn torchvision_parameters_and_gmacs() {
    let table = [
        ("resnet18", 11_689_512, 1.814),
        ("resnet34", 21_797_672, 3.664),
        ("resnet50", 25_557_032, 4.089),
        ("resnet101", 44_549_160, 7.801),
        ("resnet152", 60_192_808, 11.514),
        ("resnext50_32x4d", 25_028_904, 4.230),
        ("resnext101_32x8d", 88_791_336, 16.414),
        ("resnext101_64x4d", 83_455_272, 15.460),
        ("wide_resnet50_2", 68_883_240, 11.398),
        ("wide_resnet101_2", 126_886_696, 22.753),
    ];
    for (name, params, gmac) in table {
        let graph = build(name);
        assert_eq!(graph.trainable_params(), params, "{name}");
        let found = graph.macs() as f64 / 1e9;
        assert!((found - gmac).abs() <= 0.000_5, "{name}: {found} GMAC, published {gmac}");
    }
}

#[test]
fn the_stride_of_a_bottleneck_moves_no_parameter_but_saves_work() {
    for depth in [50, 101, 152] {
        let (v1, v15) = (build(&format!("resnet{depth}v1")), build(&format!("resnet{depth}v1.5")));
        assert_eq!(v1.trainable_params(), v15.trainable_params());
        assert!(v1.macs() < v15.macs());
    }
    for depth in [18, 34] {
        assert_eq!(build(&format!("resnet{depth}v1")), build(&format!("resnet{depth}")));
    }
}

#[test]
fn pre_activation_parameters() {
    check_params(&[
        ("resnet18v2", 11_687_720),
        ("resnet34v2", 21_795_880),
        ("resnet50v2", 25_549_352),
        ("resnet101v2", 44_541_480),
        ("resnet152v2", 60_185_128),
    ]);
}

#[test]
fn cifar_parameters() {
    check_params(&[
        ("resnet20-cifar", 269_722),
        ("resnet32-cifar", 464_154),
        ("resnet44-cifar", 658_586),
        ("resnet56-cifar", 853_018),
        ("resnet110-cifar", 1_727_962),
        ("resnet1202-cifar", 19_421_274),
        ("plain56-cifar", 853_018),
        ("resnet164v2-cifar", 1_703_258),
        ("resnet1001v2-cifar", 10_327_706),
    ]);
}

#[test]
fn deep_stem_and_pooled_shortcut_parameters() {
    // timm, `resnet18d`, `resnet34d`, `resnet50d`, `resnet101d`, `resnet152d`, rounded there to 10⁴.
    for (name, millions) in [
        ("resnet18d", 11.71),
        ("resnet34d", 21.82),
        ("resnet50d", 25.58),
        ("resnet101d", 44.57),
        ("resnet152d", 60.21),
    ] {
        let found = build(name).trainable_params() as f64 / 1e6;
        assert!((found - millions).abs() < 0.005_001, "{name}: {found} M, published {millions} M");
    }
}

#[test]
fn small_picture_parameters() {
    // The well-known ResNet-18 for CIFAR-10 with ImageNet widths.
    check_params(&[("resnet18-small", 11_173_962)]);
    assert_eq!(build("resnet18-small").input_shape(), Shape { c: 3, h: 32, w: 32 });
}

#[test]
fn tutorial_dialects_count_as_published() {
    let d2l = build("d2l18");
    assert_eq!(d2l.trainable_params(), 11_178_378);
    for name in ["keras18", "tensorflow18"] {
        let keras = build(name);
        assert_eq!(keras.trainable_params() + keras.state_params(), 11_186_186);
        let layer_params = |layer: &str| -> usize {
            let node = keras.nodes().iter().find(|n| n.name == layer).expect(layer);
            node.params.iter().map(|p| keras.param(*p).len()).sum()
        };
        assert_eq!((layer_params("conv1"), layer_params("bn1")), (3_200, 256));
    }
    let paddle = [(18, 15_335_946), (34, 30_844_106), (50, 23_608_202), (101, 42_678_666), (152, 58_391_434)];
    for (depth, params) in paddle {
        let graph = build(&format!("paddle{depth}"));
        assert_eq!(graph.trainable_params() + graph.state_params(), params, "paddle{depth}");
    }
}

#[test]
fn d2l_shapes_after_each_part() {
    let graph = build("d2l18");
    let parts = [
        ("conv1", 64, 112),
        ("bn1", 64, 112),
        ("relu1", 64, 112),
        ("maxpool", 64, 56),
        ("layer1.1.relu2", 64, 56),
        ("layer2.1.relu2", 128, 28),
        ("layer3.1.relu2", 256, 14),
        ("layer4.1.relu2", 512, 7),
        ("avgpool", 512, 1),
        ("fc", 10, 1),
    ];
    for (name, c, size) in parts {
        let node = graph.nodes().iter().find(|n| n.name == name).expect(name);
        assert_eq!(node.shape, Shape { c, h: size, w: size }, "{name}");
    }
    assert!(graph.nodes().iter().all(|n| !n.name.starts_with("layer1.0.downsample")));
}

#[test]
fn keras_pads_as_tensorflow() {
    let graph = build("keras18");
    for node in graph.nodes() {
        let padding = match (&node.layer, node.name.as_str()) {
            (Layer::Conv(l), "conv1") => Some((l.padding, 2, 3)),
            (Layer::Conv(l), "layer2.0.conv1") => Some((l.padding, 0, 1)),
            (Layer::Conv(l), "layer2.0.conv2") => Some((l.padding, 1, 1)),
            (Layer::MaxPool(l, _), "maxpool") => Some((l.padding, 0, 1)),
            _ => None,
        };
        if let Some((p, before, after)) = padding {
            assert_eq!((p.top, p.bottom, p.left, p.right), (before, after, before, after), "{}", node.name);
        }
        if let Layer::Norm(l) = node.layer {
            assert_eq!((l.eps, l.momentum, l.unbiased), (1e-3, 0.01, false));
        }
    }
}

#[test]
fn paddle_projects_with_a_norm_at_every_stage() {
    for depth in [18, 50] {
        let graph = build(&format!("paddle{depth}"));
        for stage in 1..=4 {
            assert!(graph.nodes().iter().any(|n| n.name == format!("layer{stage}.0.downsample.1")));
        }
        assert!(graph.nodes().iter().all(|n| !matches!(n.layer, Layer::Conv(l) if l.bias.is_none())));
    }
}

#[test]
fn pre_activation_shares_its_first_norm_only_where_the_shape_changes() {
    let graph = build("resnet18v2");
    let input_of = |name: &str| {
        let node = graph.nodes().iter().find(|n| n.name == name).expect(name);
        node.inputs.iter().map(|i| graph.node(*i).name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(input_of("layer2.0.downsample.0"), ["layer2.0.relu1"]);
    assert_eq!(input_of("layer2.0.add"), ["layer2.0.conv2", "layer2.0.downsample.0"]);
    assert_eq!(input_of("layer2.1.add"), ["layer2.1.conv2", "layer2.0.add"]);
    assert_eq!(input_of("layer1.0.bn1"), ["maxpool"]);
    assert_eq!(input_of("norm"), ["layer4.1.add"]);
}

#[test]
fn names_build_what_they_say() {
    let names = zoo::names();
    for name in &names {
        let spec = spec(name);
        assert_eq!(&spec.arch, name);
        if spec.depth() > 200 {
            continue; // counted above
        }
        let family = ["d2l", "resnext", "wide_resnet", "resnet", "plain", "keras", "tensorflow", "paddle"];
        let rest = family.iter().find_map(|f| name.strip_prefix(f)).expect("a family");
        let depth: String = rest.chars().take_while(char::is_ascii_digit).collect();
        assert_eq!(spec.depth().to_string(), depth, "{name}");
        assert_eq!(spec.build().map(|g| g.classes()).ok(), Some(spec.classes), "{name}");
    }
    let unique: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
}

#[test]
fn suffixes_choose_variant_block_and_shortcut() {
    let found = |name: &str| {
        let s = spec(name);
        (s.variant, s.block, s.shortcut)
    };
    assert_eq!(found("resnet50"), (Variant::V1_5, Block::Bottleneck, Shortcut::Projection));
    assert_eq!(found("resnet50v1"), (Variant::V1, Block::Bottleneck, Shortcut::Projection));
    assert_eq!(found("resnet110-cifar"), (Variant::V1, Block::Basic, Shortcut::ZeroPad));
    assert_eq!(found("resnet164-cifar"), (Variant::V1, Block::Bottleneck, Shortcut::Projection));
    assert_eq!(found("resnet29v2-cifar"), (Variant::V2, Block::Bottleneck, Shortcut::Projection));
    assert_eq!(found("plain56-cifar"), (Variant::Plain, Block::Basic, Shortcut::ZeroPad));
    assert_eq!(found("resnet50d"), (Variant::V1_5, Block::Bottleneck, Shortcut::Pooled));
}

#[test]
fn any_variant_of_any_network_builds() {
    for name in [
        "resnet18",
        "resnet50",
        "resnext50_32x4d",
        "resnet50d",
        "d2l18",
        "keras18",
        "paddle18",
        "resnet20-cifar",
        "resnet29-cifar",
    ] {
        for variant in Variant::ALL {
            let graph = spec(name).variant(variant).channels(2).classes(7).size(33, 47).build();
            assert_eq!(graph.map(|g| g.classes()).map_err(|e| e.to_string()), Ok(7), "{name} {variant}");
        }
    }
}

#[test]
fn refusals_name_what_was_found_and_wanted() {
    let message = |r: Result<ResNetSpec, Error>| r.map(|s| s.arch).expect_err("must be refused").to_string();
    let built = |s: ResNetSpec| s.build().map(|_| ()).expect_err("must be refused").to_string();

    assert_eq!(
        message(zoo::arch("resnet5O")),
        "unknown network `resnet5O`; did you mean resnet50, resnet50d, resnet152?"
    );
    assert!(message(zoo::arch("vgg16")).contains("resnet summary --list"));
    let paddle = message(zoo::arch("paddle20"));
    assert!(paddle.contains("depth 20") && paddle.contains("[18, 34, 50, 101, 152]"), "{paddle}");
    assert!(message(zoo::arch("resnet18-cifar")).contains("resnet18-small"));

    let one_class = built(spec("paddle18").classes(1));
    assert!(one_class.contains("classes: 1 given") && one_class.contains("at least 2"), "{one_class}");
    assert!(built(spec("resnet18").channels(0)).contains("channels: 0 given"));
    assert!(built(spec("resnet18").size(0, 5)).contains("height: 0 given"));
    assert!(built(spec("resnet18").variant(Variant::Plain).zero_init_residual(true)).contains("plain"));
    let mut huge = spec("resnet18-small").size(zoo::MAX_EXTENT, zoo::MAX_EXTENT);
    huge.widths.iter_mut().for_each(|w| (w.middle, w.out) = (zoo::MAX_EXTENT, zoo::MAX_EXTENT));
    assert!(built(huge).contains("multiply-accumulates for one picture cannot be counted"));
    let mut odd = spec("resnet20-cifar");
    odd.widths[2].out = 8;
    assert!(
        built(odd).contains("layer3.0.downsample: a zero-padded shortcut cannot go from 32 channels to 8")
    );
}

#[test]
fn a_spec_survives_json() {
    for name in ["resnet50v2", "keras18", "resnet110-cifar", "resnext101_64x4d"] {
        let spec = spec(name);
        let json = serde_json::to_string(&spec).expect("serialises");
        assert_eq!(serde_json::from_str::<ResNetSpec>(&json).expect("parses"), spec);
    }
}

#[test]
fn residual_branches_can_start_at_zero() {
    let zeros = |spec: ResNetSpec| {
        let graph = spec.zero_init_residual(true).build().expect("builds");
        let values = resnet_core::init::initial_values(&graph, 0);
        let zero =
            |i: &usize| !graph.params()[*i].name.ends_with("bias") && values[*i].iter().all(|v| *v == 0.0);
        let names = (0..values.len()).filter(zero).map(|i| graph.params()[i].name.clone());
        names.filter(|n| n.starts_with("layer1.0") && n.ends_with("weight")).collect::<Vec<_>>()
    };
    assert_eq!(zeros(spec("resnet20-cifar")), ["layer1.0.bn2.weight"]);
    assert_eq!(zeros(spec("resnet29-cifar")), ["layer1.0.bn3.weight"]);
    assert_eq!(zeros(spec("resnet29v2-cifar")), ["layer1.0.conv3.weight"]);
}

/// Keras Applications, ResNet50V2: the published count includes the moving statistics.
#[test]
fn the_axes_reach_keras_applications_v2() {
    let mut spec = zoo::arch("resnet50v2").expect("known");
    spec.conventions = Conventions {
        conv_bias: true,
        bias_before_norm: false,
        stem_pool_zeros: true,
        v2_stride_last_block: true,
        ..spec.conventions
    };
    let graph = spec.build().expect("builds");
    assert_eq!(graph.trainable_params() + graph.state_params(), 25_613_800);
    let shape = |name: &str| graph.nodes().iter().find(|n| n.name == name).map(|n| (n.shape.c, n.shape.h));
    assert_eq!(shape("layer1.1.add"), Some((256, 56)));
    assert_eq!(shape("layer1.2.downsample"), Some((256, 28)));
    assert_eq!(shape("layer4.0.add"), Some((2048, 7)));
    let input = |name: &str| {
        let node = graph.nodes().iter().find(|n| n.name == name).expect("a node");
        graph.node(node.inputs[0]).name.clone()
    };
    assert_eq!(input("layer1.2.downsample"), "layer1.1.add");
    assert_eq!(input("layer1.0.downsample.0"), "layer1.0.relu1");
}

#[test]
fn a_tiered_stem_widens_step_by_step() {
    let spec = ResNetSpec { stem: Stem::Tiered, ..zoo::arch("resnet18d").expect("known") };
    let graph = spec.build().expect("builds");
    let out = |name: &str| graph.nodes().iter().find(|n| n.name == name).map(|n| n.shape.c);
    assert_eq!([out("conv1.0"), out("conv1.3"), out("conv1.6")], [Some(24), Some(32), Some(64)]);
    let narrow = ResNetSpec { stem_width: 2, ..spec };
    assert!(narrow.build().is_err_and(|e| e.to_string().contains("stem width")));
}
