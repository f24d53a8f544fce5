//! The measurement other programs read.

use super::{resnet, words};

#[test]
fn one_line_of_json_with_what_was_measured() {
    for mode in ["", "--infer"] {
        let line = format!(
            "bench --arch resnet8-cifar --channels 1 --size 8 --classes 3 --batch 4 --steps 3 --threads 1 --json {mode}"
        );
        let text = resnet(words(&line)).done();
        assert_eq!(text.lines().count(), 1, "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let number = |key: &str| json[key].as_f64().expect(key);
        assert!(0.0 < number("min_s") && number("min_s") <= number("median_s"), "{text}");
        assert!((number("images_per_s") * number("median_s") - 4.0).abs() < 1e-9, "{text}");
        assert_eq!(number("steps"), 3.0);
        if cfg!(target_os = "linux") {
            assert!(number("peak_rss_bytes") > (1 << 20) as f64, "{text}");
        }
        assert_eq!(json["mode"], if mode.is_empty() { "train" } else { "infer" });
    }
}

#[test]
fn the_profile_says_where_the_time_goes() {
    let line = "bench --arch resnet8-cifar --channels 1 --size 8 --classes 3 --batch 4 --steps 2 --profile";
    let text = resnet(words(line)).done();
    for part in ["pictures per second", "conv2d_backward_weight", "3×3 s1, 16→16, 8×8", "update"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
