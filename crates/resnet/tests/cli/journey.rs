//! From somebody's weights to an own network: fine-tune, test, look, give away.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use resnet::core::weights::{describe, write_graph};
use resnet::core::{Graph, init, zoo};

use super::{Answer, resnet, words};

/// A small network of three colours and `classes` classes, as another library would leave it: torchvision's names, nothing said.
fn weights(path: &Path, classes: usize, described: bool) -> (Graph, Vec<Vec<f32>>) {
    let spec = zoo::arch("resnet8-cifar").unwrap().classes(classes).size(12, 12);
    let graph = spec.build().unwrap();
    let values = init::initial_values(&graph, 5);
    let metadata = if described { describe(&spec) } else { Default::default() };
    let file = write_graph(vec![], &graph, &metadata, |id| Ok(values[id.0].as_slice().into())).unwrap();
    std::fs::write(path, file).unwrap();
    (graph, values)
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}

fn with_input(args: &[&str], input: &[u8]) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_resnet"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let out = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { code: out.status.code().unwrap(), stdout: text(out.stdout), stderr: text(out.stderr) }
}

#[test]
fn somebody_s_weights_become_an_own_network() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| text(home.path().join(name));
    weights(at("theirs.safetensors").as_ref(), 7, false);
    let (file, run) = (at("theirs.safetensors"), at("run"));
    let mut args = words("train --data fashion-mnist-sample --size 12 --batch 100 --threads 1");
    args.extend(words("--set train.max_steps=3 --freeze-until layer3 --lr-decay 0.5"));
    args.extend(["--weights".into(), file.clone(), "--out".into(), run.clone()]);
    let answer = resnet(&args);
    for part in [
        "10 classes instead of the file's 7: fc starts fresh",
        "1 channel instead of 3: the first kernels are summed",
    ] {
        assert!(answer.stderr.contains(part), "{part} is not in {}", answer.stderr);
    }
    let told = answer.done();
    for part in [
        "start        ",
        "everything before layer3",
        "running statistics stay",
        "× 10 for the classifier, × 0.5",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    // The weights are not needed any more: all that was found in them is in the recipe and the checkpoint.
    std::fs::remove_file(&file).unwrap();
    let more = ["train", "--resume", &run, "--inexact", "--set", "train.max_steps=5"];
    resnet(more).done();

    let tested = resnet(["eval", "--weights", &run]).done();
    assert!(
        tested.contains("pictures     ") && tested.contains("mean 0.449"),
        "ImageNet's mean in grey: {tested}"
    );
    resnet(["eval", &run, "--weights", &run]).refused(2, &[]);
    let given = resnet(["export", &run, "--to", "onnx", "-o", &at("own.onnx")]);
    given.done();
    let summary = resnet(["summary", "--weights", &run]).done();
    assert!(summary.contains("Ankle boot") && summary.contains("mean 0.449"), "{summary}");
}

#[test]
fn what_cannot_be_learned_on_from_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| text(home.path().join(name));
    weights(at("theirs.safetensors").as_ref(), 7, true);
    let train = |more: &[&str]| {
        let mut args = words("train --data fashion-mnist-sample --size 12 --set train.max_steps=1 --out");
        args.push(at("run"));
        args.extend(more.iter().map(|&m| m.to_owned()));
        resnet(args)
    };
    let file = at("theirs.safetensors");
    train(&["--weights", &at("absent")]).refused(1, &["absent"]);
    train(&["--weights", &file, "--freeze-until", "layer7"]).refused(2, &["layer7", "layer3", "fc"]);
    train(&["--weights", &file, "--from", "keras"]).refused(1, &["names of keras"]);
    train(&["--weights", &file, "--freeze-norm", "some"]).refused(2, &["freeze_norm", "frozen-layers"]);
    train(&["--weights", &file, "--arch", "resnet20-cifar"]).refused(1, &["theirs.safetensors", "missing"]);
    train(&["--freeze-until", "layer2"]).refused(2, &["finetune.weights", "--weights"]);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(at("cut.safetensors"), &whole[..whole.len() / 2]).unwrap();
    train(&["--weights", &at("cut.safetensors")]).refused(1, &["cut.safetensors"]);
    assert!(!Path::new(&at("run")).exists(), "nothing was started");
}

#[test]
fn pictures_come_from_everywhere_and_answers_go_anywhere() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| text(home.path().join(name));
    weights(at("w.safetensors").as_ref(), 4, false);
    std::fs::create_dir(at("deep")).unwrap();
    for (i, name) in ["a.png", "deep/b.jpg", "deep/c.bmp"].into_iter().enumerate() {
        image::RgbImage::from_fn(20 + i as u32, 15, |x, y| {
            image::Rgb([x as u8 * 9, y as u8 * 9, 40 * i as u8])
        })
        .save(at(name))
        .unwrap();
    }
    std::fs::write(at("deep/broken.png"), "no picture").unwrap();
    let weights = at("w.safetensors");
    let base = ["predict", "--weights", &weights, "--threads", "1", "--top", "2", "--batch", "2"];
    let predict = |more: &[&str]| resnet(base.iter().chain(more));

    let table = predict(&[&at("a.png"), &at("deep/*.jpg")]).done();
    assert!(table.contains("a.png") && table.contains("b.jpg") && table.contains("class "), "{table}");

    let answer = predict(&["--json", &home.path().join("deep").to_string_lossy(), &at("absent.png")]);
    answer.refused(1, &["2 of 4 pictures could not be read", "broken.png"]);
    let lines: Vec<serde_json::Value> =
        answer.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 4, "an object a line: {}", answer.stdout);
    assert_eq!(lines.iter().filter(|l| l["predictions"].as_array().is_some_and(|p| p.len() == 2)).count(), 2);
    assert_eq!(lines.iter().filter(|l| l["error"].is_string()).count(), 2);

    let csv = predict(&["--csv", &at("a.png")]).done();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows[0], "file,rank,class,index,probability,error");
    assert!(rows.len() == 3 && rows[1].contains("a.png,1,class ") && rows[2].contains(",2,"), "{csv}");

    let picture = std::fs::read(at("a.png")).unwrap();
    let args = [&base[..], &["--csv", "-"]].concat();
    let streamed = with_input(&args, &picture).done();
    let same = |text: &str| {
        text.lines().skip(1).map(|l| l.split_once(',').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(same(&streamed), same(&csv), "the same picture from standard input");
    let list = format!("{}\n{}\n", at("a.png"), at("deep/c.bmp"));
    assert_eq!(with_input(&args, list.as_bytes()).done().lines().count(), 5);
    with_input(&args, b"").refused(2, &["standard input is empty"]);

    std::fs::create_dir(at("empty")).unwrap();
    predict(&[&at("empty")]).refused(2, &["empty", "no picture files"]);
    predict(&[&at("*.gif")]).refused(2, &["no file matches"]);
    resnet(["predict", &weights]).refused(2, &["taken for the model", "--data"]);
    resnet(["predict"]).refused(2, &[]);
    resnet(["predict", &at("a.png"), &at("a.png")]).refused(1, &["a.png", "not a weights file"]);
    predict(&["--classes", "9", &at("a.png")]).refused(2, &["4 classes", "wants 9"]);
}

/// A whole set, with its labels beside the answers, and a broken picture in it.
#[test]
fn answers_for_a_set_have_its_labels() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| text(home.path().join(name));
    weights(at("w.safetensors").as_ref(), 4, false);
    for (class, n) in [("cat", 3), ("dog", 2)] {
        std::fs::create_dir_all(at(&format!("set/{class}"))).unwrap();
        for i in 0..n {
            let path = at(&format!("set/{class}/{i}.png"));
            image::GrayImage::from_pixel(14, 13, image::Luma([90 * i])).save(path).unwrap();
        }
    }
    let (weights, set) = (at("w.safetensors"), at("set"));
    let base = ["predict", "--weights", &weights, "--data", &set, "--top", "1", "--batch", "2"];
    let predict = |more: &[&str]| resnet(base.iter().chain(more));
    let csv = predict(&["--csv", "--part", "all"]).done();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!((rows[0], rows.len()), ("file,rank,class,index,probability,error,label", 6));
    let count = |label: &str| rows.iter().filter(|r| r.ends_with(label)).count();
    assert_eq!((count(",cat"), count(",dog")), (3, 2), "{csv}");
    // The same picture alone gets the same answer.
    let alone = resnet([&base[..3], &["--csv", "--top", "1", &at("set/dog/1.png")]].concat()).done();
    let row = alone.lines().nth(1).unwrap();
    assert!(rows.contains(&format!("{row},dog").as_str()), "{row} is not in {csv}");

    let test: Vec<serde_json::Value> = predict(&["--json", "--split", "0.34"])
        .done()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(test.iter().map(|l| l["label"].as_str().unwrap()).collect::<Vec<_>>(), ["cat", "dog"]);
    let table = predict(&["--part", "train", "--split", "0.34"]).done();
    assert!(table.contains("label") && table.lines().count() == 5, "{table}");

    predict(&[&at("set/cat/0.png")]).refused(2, &["0.png", "--data"]);
    predict(&["--split", "0"]).refused(2, &["no picture in this part", "--part all"]);
    std::fs::write(at("set/cat/1.png"), "no picture").unwrap();
    let answer = predict(&["--json", "--part", "all"]);
    answer.refused(1, &["1.png"]);
    assert_eq!(answer.stdout.lines().count(), 5, "the others are answered");
}

#[test]
fn a_report_is_short_for_people_and_whole_for_programs() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| text(home.path().join(name));
    weights(at("w.safetensors").as_ref(), 4, false);
    let args = ["import", &at("w.safetensors"), "--arch", "resnet20-cifar", "-o", &at("o"), "--json"];
    let answer = resnet(args);
    answer.refused(1, &["w.safetensors", "60 missing", "and 48 more"]);
    let report: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(report["missing"].as_array().unwrap().len(), 60);

    let done = resnet(["import", &at("w.safetensors"), "-o", &at("o"), "--json"]).done();
    let json: serde_json::Value = serde_json::from_str(&done).unwrap();
    assert_eq!(json["report"]["n_fitting"], 37);
    assert_eq!(json["network"]["classes"], 4);
    assert_eq!(json["preprocessing"]["mean"].as_array().unwrap().len(), 3);

    std::fs::copy(at("w.safetensors"), at("w-0123abcd.safetensors")).unwrap();
    resnet(["summary", "--weights", &at("w-0123abcd.safetensors")]).refused(1, &["SHA-256", "0123abcd"]);
    resnet(["summary", "--weights", &at("w-0123abcd.safetensors"), "--no-checksum"]).done();
}
