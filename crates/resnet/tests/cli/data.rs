//! A folder of pictures: looked over, learned from, tested with.

use std::path::Path;

use super::{resnet, words};

/// Three classes of stripes: 12 pictures each, of different sizes; one is broken, and one is in there twice.
fn photos(root: &Path) {
    for (class, name) in ["across", "down", "plain & simple"].into_iter().enumerate() {
        std::fs::create_dir_all(root.join(name)).unwrap();
        for i in 0..12u32 {
            let picture = image::RgbImage::from_fn(20 + i, 24, |x, y| {
                let on = [y, x, 0][class] / 4 % 2 == 0;
                image::Rgb([if on { 250 - i as u8 } else { 10 + i as u8 }, 60, 90])
            });
            let ending = if i % 2 == 0 { "png" } else { "jpg" };
            picture.save(root.join(name).join(format!("{i}.{ending}"))).unwrap();
        }
    }
    std::fs::write(root.join("down/7.jpg"), "<html>").unwrap();
    std::fs::copy(root.join("across/0.png"), root.join("across/copy.png")).unwrap();
    std::fs::write(root.join("across/notes.txt"), "stripes").unwrap();
}

fn with(command: &str, path: &Path, more: &str) -> super::Answer {
    let mut args = words(command);
    args.push(path.to_str().unwrap().into());
    args.extend(words(more));
    resnet(args)
}

#[test]
fn a_set_is_looked_over() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("stripes");
    photos(&root);
    let text = with("data", &root, "").done();
    for part in [
        "folder per class, 20 % held out for testing",
        "notes.txt is not read",
        "plain & simple",
        "█",
        "shorter side",
        "from 24×20 to 24×31",
        "broken       1",
        "7.jpg: no picture: it starts with \"<html>\"",
        "across/0.png = ",
        "mean ",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let sheet = home.path().join("sheet.svg");
    let answer = with("data", &root, &format!("--json --per-class 3 --sheet {}", sheet.display()));
    let json: serde_json::Value = serde_json::from_str(&answer.done()).unwrap();
    let n = |part: &str| json[part]["count"].as_u64().unwrap();
    assert_eq!((n("train") + n("test"), json["classes"].as_array().unwrap().len()), (37, 3));
    assert_eq!(json["duplicates"].as_array().unwrap().len(), 1);
    let svg = std::fs::read_to_string(sheet).unwrap();
    assert_eq!((svg.matches("<image").count(), svg.matches("<text").count()), (9, 7)); // a title; a name and a count for each class
    assert!(svg.contains("plain &amp; simple"));

    with("data --check", &root, "").refused(1, &["1 broken pictures"]);
    std::fs::remove_file(root.join("down/7.jpg")).unwrap();
    std::fs::remove_file(root.join("across/copy.png")).unwrap();
    with("data --check", &root, "").done();
    assert!(resnet(words("data fashion-mnist-sample")).done().contains("all 28×28 pixels"));
    with("data", &home.path().join("absent"), "").refused(1, &["absent", "cannot open"]);
    with("data", &root, "--split 2").refused(2, &["data.split", "0 to 1"]);
}

#[test]
fn a_folder_is_learned_from_and_tested_with() {
    let home = tempfile::tempdir().unwrap();
    let (root, run) = (home.path().join("stripes"), home.path().join("run"));
    photos(&root);
    let command = "train --arch resnet8-cifar --size 16 --threads 1 --batch 6 --epochs 12 --lr 0.05 --set data.max_bad=0.1 --data";
    let answer = with(command, &root, &format!("--out {}", run.display()));
    let told = format!("{}{}", answer.stdout, answer.stderr);
    assert!(told.contains("7.jpg: no picture"), "the broken one is named: {told}");
    let text = answer.done();
    assert!(text.contains("mixed sizes, 3 channels") && text.contains("3×16×16 → 3 classes"), "{text}");
    let recipe = std::fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert!(
        recipe.contains("resized_crop") && recipe.contains("stripes"),
        "the recipe for photographs: {recipe}"
    );

    let text = with("eval --threads 1", &run, "").done();
    assert!(text.contains("plain & simple"), "{text}");
    let all = with("eval --threads 1 --json", &run, &format!("--split 1 --data {}", root.display()));
    assert!(all.stderr.contains("not counted") && all.stderr.contains("7.jpg"), "{}", all.stderr);
    let json: serde_json::Value = serde_json::from_str(&all.done()).unwrap();
    assert_eq!(json["count"], 36, "{json}");
    assert!(json["top1"].as_f64().unwrap() > 0.6, "stripes are told apart: {}", json["top1"]);

    // A part of the classes in a folder of their own keeps its names.
    let some = home.path().join("some");
    std::fs::create_dir_all(some.join("down")).unwrap();
    std::fs::create_dir_all(some.join("plain & simple")).unwrap();
    for name in ["down/1.jpg", "down/2.png", "plain & simple/1.jpg"] {
        std::fs::copy(root.join(name), some.join(name)).unwrap();
    }
    let part = with("eval --threads 1 --json", &run, &format!("--split 1 --data {}", some.display()));
    assert!(!part.stderr.contains("warning"), "{}", part.stderr);
    let json: serde_json::Value = serde_json::from_str(&part.done()).unwrap();
    assert_eq!(
        (json["count"].as_u64(), json["classes"][1]["support"].as_u64()),
        (Some(3), Some(2)),
        "{json}"
    );

    // Resuming elsewhere is fine, with other pictures it is not.
    let moved = home.path().join("moved");
    std::fs::rename(&root, &moved).unwrap();
    let resume = |more: &str| {
        let more = format!("--threads 1 --data {} {more}", moved.display());
        with("train --resume", &run, &more)
    };
    resume("").done();
    std::fs::remove_file(moved.join("down/1.jpg")).unwrap();
    resume("").refused(2, &["cannot be resumed exactly"]);

    let measured = with(
        "bench --arch resnet8-cifar --size 16 --classes 3 --batch 4 --steps 3 --threads 1 --data",
        &moved,
        "",
    );
    assert!(measured.done().contains("pictures of"));
}
