//! A small run from start to end: train, stop, go on, test, predict, compare.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{resnet, words};

/// The smallest network on tiny pictures: a run takes a second or two.
const TINY: &str = "--arch resnet8-cifar --size 8";

fn train(dir: &Path, more: &str) -> super::Answer {
    let mut args = words(&format!("train {TINY} --threads 1 {more}"));
    if !more.contains("--batch") {
        args.extend(words("--batch 100"));
    }
    args.extend(["--out".into(), dir.to_str().unwrap().into()]);
    resnet(args)
}

fn run(command: &str, dir: &Path, more: &[&str]) -> super::Answer {
    let mut args = words(command);
    args.push(dir.to_str().unwrap().into());
    args.extend(more.iter().map(|a| a.to_string()));
    resnet(args)
}

/// Losses and accuracies of a log, without what the clock says.
fn numbers(dir: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let mut lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    lines.iter_mut().for_each(|l| drop(l.as_object_mut().unwrap().remove("time")));
    lines
}

#[test]
fn a_run_is_announced_logged_kept_tested_and_used() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("run");
    let text = train(&dir, "--epochs 2").done();
    for part in [
        "Fashion-MNIST sample (embedded)",
        "resnet8-cifar, 1×8×8 → 10 classes",
        "parameters",
        "GFLOP per step",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let epochs: Vec<&str> = text.lines().filter(|l| l.starts_with("epoch ")).collect();
    assert_eq!(epochs.len(), 2, "{text}");
    // epoch 1, loss 0.3995, train acc 0.853, test acc 0.849, 50.2 s, 1195 img/s
    let parts: Vec<&str> = epochs[0].split(", ").collect();
    let starts = ["epoch 1", "loss ", "train acc ", "test acc "];
    assert!(parts.len() == 6 && parts.iter().zip(starts).all(|(p, s)| p.starts_with(s)), "{}", epochs[0]);
    assert!(parts[4].ends_with(" s") && parts[5].ends_with(" img/s"), "{}", epochs[0]);
    for file in
        ["recipe.toml", "metrics.jsonl", "curves.svg", "model.safetensors", "checkpoints", "summary.json"]
    {
        assert!(dir.join(file).exists(), "{file} is missing");
    }
    assert!(text.contains(&format!("resnet eval {}", dir.display())), "{text}");

    let text = run("eval", &dir, &[]).done();
    for part in ["top-1 0.", "Ankle boot", "Confusion", "taken for"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(std::fs::read_to_string(dir.join("confusion.svg")).unwrap().contains("Ankle boot"));
    let eval: serde_json::Value = serde_json::from_str(&run("eval", &dir, &["--json"]).done()).unwrap();
    let summary: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("summary.json")).unwrap()).unwrap();
    assert_eq!(eval["top1"], summary["best"]["accuracy"], "the best weights are what is kept");
    assert_eq!(eval["loss"], summary["best"]["loss"], "whatever the batch");
    let total: u64 = eval["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|r| r.as_array().unwrap())
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(total, 1000);

    let pictures = home.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    image::GrayImage::from_fn(28, 28, |x, _| image::Luma([if (9..18).contains(&x) { 200 } else { 0 }]))
        .save(pictures.join("a.png"))
        .unwrap();
    image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 5, y as u8 * 5, 90]))
        .save(pictures.join("b.jpg"))
        .unwrap();
    let pictures = pictures.to_str().unwrap();
    let text = run("predict", &dir, &[pictures]).done();
    assert!(text.contains("a.png") && text.contains("b.jpg") && text.contains("probability"), "{text}");
    let seen = run("predict", &dir, &[pictures, "--json", "--top", "10"]).done();
    for line in seen.lines() {
        let picture: serde_json::Value = serde_json::from_str(line).unwrap();
        let p: Vec<f64> = picture["predictions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["probability"].as_f64().unwrap())
            .collect();
        assert!(
            p.len() == 10 && p.is_sorted_by(|a, b| a >= b) && (p.iter().sum::<f64>() - 1.0).abs() < 1e-5,
            "{p:?}"
        );
    }
    std::fs::write(home.path().join("pictures/c.png"), "no picture").unwrap();
    let answer = run("predict", &dir, &[pictures]);
    answer.refused(1, &["c.png"]);
    assert!(answer.stdout.contains("a.png"), "the others are looked at: {}", answer.stdout);
}

#[test]
fn a_stopped_run_goes_on_bit_for_bit() {
    let home = tempfile::tempdir().unwrap();
    let (whole, parts) = (home.path().join("whole"), home.path().join("parts"));
    train(&whole, "--epochs 2").done();

    // The same run, one thread or two, stopped by a signal as soon as it has trained a little, until it is done.
    let mut args = words(&format!("train {TINY} --batch 100 --threads 2 --epochs 2"));
    args.extend(["--out".into(), parts.to_str().unwrap().to_owned()]);
    assert_eq!(stopped(&args, &parts, "-INT"), Some(130), "stopped by SIGINT, saved");
    let again = ["train".to_owned(), "--resume".to_owned(), parts.to_str().unwrap().to_owned()];
    resnet(&again).done();
    assert_eq!(numbers(&parts), numbers(&whole));

    let text = resnet(&again).done();
    assert!(text.contains("best test accuracy"), "a finished run says its result again: {text}");
    let inexact = run("train --batch 50 --resume", &parts, &[]);
    inexact.refused(2, &["cannot be resumed exactly"]);
    assert!(
        inexact.stderr.contains("train.batch") && inexact.stderr.contains("--inexact"),
        "{}",
        inexact.stderr
    );
}

/// Starts a run, interrupts it after its first line of the log, and returns its exit code.
fn stopped(args: &[String], dir: &Path, signal: &str) -> Option<i32> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_resnet"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let logged = || std::fs::metadata(dir.join("metrics.jsonl")).is_ok_and(|m| m.len() > 0);
    while !logged() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    child.wait().unwrap().code()
}

#[test]
fn a_run_stopped_by_a_launcher_says_so_and_keeps_what_it_has() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("run");
    let mut args = words(&format!("train {TINY} --batch 100 --threads 1 --epochs 50"));
    args.extend(["--out".into(), dir.to_str().unwrap().to_owned()]);
    assert_eq!(stopped(&args, &dir, "-TERM"), Some(143));
    assert!(dir.join("checkpoints/LATEST").exists());
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("run");
    let answer = train(&dir, "--epochs 2 --lr 1e18 --set schedule.name=constant");
    answer.refused(1, &["step ", "not finite", "the last checkpoint is kept"]);
    assert!(dir.join("checkpoints/step-0000000/tensors.safetensors").exists());
}

#[test]
fn a_comparison_leaves_a_table_and_goes_on_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("out");
    let command = "compare --variants v1,v2 --arch resnet8-cifar --size 8 --batch 250 --epochs 1 --seeds 2 --threads 1 --out";
    let text = run(command, &out, &[]).done();
    for part in ["resnet8-cifar v1", "resnet8-cifar v2", "test acc", " ± ", "‖g‖ first"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let markdown = std::fs::read_to_string(out.join("compare.md")).unwrap();
    assert!(
        markdown.contains("resnet compare --variants v1,v2") && markdown.contains("threads"),
        "{markdown}"
    );
    assert!(std::fs::read_to_string(out.join("compare.svg")).unwrap().contains("resnet8-cifar v2"));
    let json = || -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(out.join("compare.json")).unwrap()).unwrap()
    };
    let first = json();
    for run in first["networks"].as_array().unwrap().iter().flat_map(|n| n["runs"].as_array().unwrap()) {
        assert!(run["grad_norm_first_stage"].as_f64().unwrap() > 0.0, "{run}");
        assert!(run["test_accuracy"].as_f64().unwrap() > 0.1, "{run}");
    }
    assert!(run(command, &out, &[]).done().contains("found in"));
    assert_eq!(json()["networks"], first["networks"], "nothing was trained again");
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("run");
    train(&dir, "--batch 9999").refused(2, &["train.batch", "9999", "5000"]);
    train(&dir, "--lr -1").refused(2, &["optimizer.lr", "-1"]);
    train(&dir, "--set train.epoch=3").refused(2, &["train.epoch=3", "epochs"]);
    train(&dir, "--set nonsense").refused(2, &["nonsense", "table.field=value"]);
    train(&dir, "--channels 2").refused(2, &["model.channels", "2", "1"]);
    train(&dir, "--classes 9").refused(2, &["model.classes", "9", "10"]);
    train(&dir, "--data imagenet").refused(2, &["data.name", "imagenet", "fashion-mnist", "data.path"]);
    train(&dir, "--data ./absent").refused(1, &["./absent", "cannot open"]);
    let answer = run("train --data fashion-mnist --data-dir", &home.path().join("nowhere"), &[]);
    answer.refused(1, &["Fashion-MNIST was not found"]);
    assert!(answer.stderr.contains("cargo xtask data fashion-mnist"), "{}", answer.stderr);
    assert!(!dir.exists(), "nothing was written");

    assert!(resnet(words("train --list")).done().contains("fashion-mnist-28"));
    resnet(words("train no-such-recipe")).refused(2, &["no-such-recipe", "fashion-sample"]);
    run("train --resume", home.path(), &[]).refused(2, &["holds no run"]);
    run("eval", home.path(), &[]).refused(1, &["no model.safetensors"]);
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("recipe.toml"), "").unwrap();
    train(&dir, "").refused(2, &["holds a run already", "--resume"]);
    std::fs::write(home.path().join("file"), "").unwrap();
    train(&home.path().join("file/run"), "").refused(1, &["file/run", "cannot create"]);
}

#[test]
fn damaged_data_is_named() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| std::fs::write(home.path().join(name), bytes).unwrap();
    let images = |n: u8, bytes: usize| {
        [vec![0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 28, 0, 0, 0, 28], vec![0; bytes]].concat()
    };
    let labels = |labels: &[u8]| [vec![0, 0, 8, 1, 0, 0, 0, labels.len() as u8], labels.to_vec()].concat();
    file("t10k-images-idx3-ubyte", &images(2, 2 * 784));
    file("t10k-labels-idx1-ubyte", &labels(&[0, 1]));
    file("train-labels-idx1-ubyte", &labels(&[0, 1]));
    let train = || run("train --data fashion-mnist --batch 2 --data-dir", home.path(), &[]);

    train().refused(1, &["train-images-idx3-ubyte"]);
    file("train-images-idx3-ubyte", &images(2, 784));
    train().refused(1, &["train-images-idx3-ubyte", "wanted"]);
    file("train-images-idx3-ubyte", &[9; 2000]);
    train().refused(1, &["train-images-idx3-ubyte", "wanted"]);
    file("train-images-idx3-ubyte", &images(2, 2 * 784));
    file("train-labels-idx1-ubyte", &labels(&[0, 10]));
    train().refused(1, &["label 10", "0 to 9"]);
}
