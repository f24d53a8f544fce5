//! The summary table, its JSON and the drawing.

use resnet_core::zoo;

#[test]
fn the_table_reads_like_keras_and_fits_a_hundred_columns() {
    for name in ["resnet18", "resnet50v2", "resnext101_64x4d", "resnet110-cifar", "keras18"] {
        let spec = zoo::arch(name).expect("known");
        let table = spec.summary().expect("builds").to_string();
        let widest = table.lines().map(|l| l.chars().count()).max();
        assert!(widest <= Some(100), "{name}: {widest:?}");
        assert!(!table.contains('…'), "{name} is shortened:\n{table}");
    }
    let table = zoo::arch("resnet18").expect("known").summary().expect("builds").to_string();
    let row = |start: &str| {
        table.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start}")).to_owned()
    };
    let cells = |start: &str| row(start).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells("conv1 "), ["conv1", "(Conv2d)", "64×112×112", "9,408", "118", "M", "input"]);
    assert_eq!(cells("Total params"), ["Total", "params:", "11,689,512"]);
    assert!(row("MACs").contains("1.81 G"));
    // The second input of an addition stands on a line of its own.
    let after_add = table.lines().skip_while(|l| !l.starts_with("layer2.0.add")).nth(1).expect("a line");
    assert_eq!(after_add.trim(), "layer2.0.downsample.1");
}

#[test]
fn json_has_the_totals_and_every_layer() {
    let summary = zoo::arch("keras18").expect("known").summary().expect("builds");
    let json = serde_json::to_value(&summary).expect("serialises");
    let number = |key: &str| json[key].as_u64().unwrap_or_else(|| panic!("{key} in {json}"));
    assert_eq!(number("total_params"), 11_186_186);
    assert_eq!(number("trainable_params"), 11_178_378);
    assert_eq!(number("non_trainable_params"), 7_808);
    assert_eq!(number("moving_statistics"), 7_808);
    let layers = json["layers"].as_array().expect("a list");
    assert_eq!(number("n_layers") as usize, layers.len());
    let sum = |key: &str| layers.iter().map(|l| l[key].as_u64().expect("a number")).sum::<u64>();
    assert_eq!((sum("params"), sum("macs")), (number("total_params"), number("macs")));

    let torchvision = zoo::arch("resnet18").expect("known").summary().expect("builds");
    assert_eq!((torchvision.total_params, torchvision.non_trainable_params), (11_689_512, 0));
    assert_eq!(torchvision.moving_statistics, 9_600);
}

#[test]
fn the_drawing_has_every_layer_every_edge_and_balanced_boxes() {
    for name in ["resnet18", "resnet29v2-cifar", "plain20-cifar"] {
        let graph = zoo::arch(name).and_then(|s| s.build()).expect("builds");
        let dot = graph.to_dot();
        assert_eq!(dot.matches('{').count(), dot.matches('}').count());
        assert_eq!(dot.matches("[label=").count(), graph.nodes().len());
        assert_eq!(dot.matches(" -> n").count(), graph.nodes().iter().map(|n| n.inputs.len()).sum::<usize>());
        let blocks = graph.nodes().iter().filter(|n| n.name.ends_with(".conv1")).count();
        let stages = if name == "resnet18" { 4 } else { 3 };
        assert_eq!(dot.matches("subgraph").count(), blocks + stages);
    }
}
