//! Published figures, as the command prints them.

use super::{resnet, words};

fn figures(arguments: &str) -> (u64, u64, u64) {
    let text = resnet(words(&format!("summary --json {arguments}"))).done();
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let number = |key: &str| json[key].as_u64().expect("a number");
    assert_eq!(json["layers"].as_array().expect("layers").len() as u64, number("n_layers"));
    (number("total_params"), number("trainable_params"), number("macs"))
}

#[test]
fn json_has_the_published_figures() {
    assert_eq!(figures("--arch resnet18"), (11_689_512, 11_689_512, 1_814_073_344));
    assert_eq!(figures("--arch resnet50").0, 25_557_032);
    assert_eq!(figures("--arch resnet50 --variant v2").0, 25_549_352);
    assert_eq!(figures("--arch d2l18 --channels 1 --classes 10").0, 11_178_378);
    let (total, trainable, _) = figures("--arch keras18 --channels 1 --classes 10");
    assert_eq!(total, 11_186_186);
    assert!(trainable < total, "Keras counts moving statistics");
    assert_eq!(figures("--arch paddle18 --classes 10").0, 15_335_946);
}

#[test]
fn flags_change_the_network() {
    let text = resnet(words("summary --arch resnet18 --channels 1 --size 96x64 --classes 7")).done();
    for part in ["1×96×64", "64×48×32", "512×3×2", "7×1×1", "Trainable params"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(resnet(words("summary --arch resnet50 --variant v1")).done().starts_with("resnet50 (v1): "));
}

#[test]
fn the_drawing_and_the_list_are_for_other_programs() {
    let dot = resnet(words("summary --arch resnet20-cifar --dot")).done();
    assert!(dot.starts_with("digraph") && dot.ends_with("}\n"), "{dot}");
    let names = resnet(words("summary --list")).done();
    for name in names.lines().take(8) {
        assert_eq!(resnet(["summary", "--arch", name, "--json"]).code, 0, "{name}");
    }
    assert!(names.lines().count() > 50 && names.contains("resnet164v2-cifar\n"), "{names}");
}
