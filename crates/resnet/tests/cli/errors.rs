//! What does not work, and how it is said.

use super::{resnet, words};

#[test]
fn an_unknown_network_is_met_with_suggestions() {
    resnet(words("summary --arch resnet5O")).refused(2, &["resnet5O", "resnet50"]);
    resnet(words("bench --arch vgg16")).refused(2, &["vgg16", "resnet summary --list"]);
    resnet(words("summary --arch paddle20")).refused(2, &["20", "[18, 34, 50, 101, 152]"]);
    resnet(words("summary --arch resnet21-cifar")).refused(2, &["21", "6n+2"]);
}

#[test]
fn impossible_networks_are_refused() {
    resnet(words("summary --classes 1")).refused(2, &["classes", "1 given", "at least 2"]);
    resnet(words("summary --variant v3")).refused(2, &["v3", "v1, v1.5, v2, plain"]);
    resnet(words("summary --size 0")).refused(2, &["--size"]);
    resnet(words("summary --size 9x")).refused(2, &["--size", "96x128"]);
    resnet(words("summary --channels 0")).refused(2, &["channels"]);
}

#[test]
fn impossible_measurements_are_refused() {
    resnet(words("bench --steps 0")).refused(2, &["--steps 0"]);
    resnet(words("bench --batch 0 --arch resnet20-cifar")).refused(2, &["0"]);
    resnet(words("bench --threads 0 --arch resnet20-cifar")).refused(2, &["thread"]);
    resnet(words("bench --backend tpu")).refused(2, &["tpu", "cpu, cuda"]);
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_backend_that_is_not_built_in_says_how_to_get_it() {
    resnet(words("bench --backend cuda --arch resnet20-cifar"))
        .refused(1, &["cuda", "--features cuda", "cargo xtask train --backend cuda"]);
}

#[test]
#[cfg(feature = "cuda")]
fn cuda_that_cannot_be_had_says_why() {
    let answer = resnet(words("bench --backend cuda --arch resnet20-cifar --steps 1"));
    if answer.code != 0 {
        answer.refused(1, &["cuda"]);
    }
}

#[test]
fn every_command_explains_itself_with_examples() {
    let help = resnet(["--help"]).done();
    let commands = help.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let indented = commands.filter_map(|l| l.strip_prefix("  ")).filter(|l| !l.starts_with(' '));
    let names: Vec<&str> = indented.filter_map(|l| l.split_whitespace().next()).collect();
    assert!(names.len() > 7, "{help}");
    for name in names.into_iter().filter(|n| *n != "help") {
        let text = resnet([name, "--help"]).done();
        assert!(text.contains(&format!("resnet {name} ")) && text.contains("Examples:"), "{text}");
    }
}

#[test]
fn nothing_asked_is_wrong_usage() {
    assert_eq!(resnet::<&str>([]).code, 2);
    assert_eq!(resnet(["trian"]).code, 2);
}
