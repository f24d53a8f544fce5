use super::*;

/// What is found in a file of this path and text, as `line: first word of the finding`.
fn found(path: &str, text: &str) -> Vec<String> {
    check(&File { path, text }).iter().map(|f| format!("{}: {}", f.line, f.what)).collect()
}

fn only(path: &str, text: &str) -> String {
    let findings = found(path, text);
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings[0].clone()
}

const KERNEL: &str = "crates/resnet-cpu/src/kernels/gemm.rs";

#[test]
fn unsafe_stands_in_listed_files_with_a_reason() {
    let good = "// SAFETY: `n` elements were checked above.\nunsafe { f(n) }\n";
    assert_eq!(found(KERNEL, good), [""; 0]);
    assert!(only("crates/resnet-train/src/a.rs", good).starts_with("2: `unsafe` outside"));
    assert!(only(KERNEL, "unsafe { f(n) }\n").starts_with("1: an unsafe block without"));
    assert_eq!(
        found(KERNEL, "// SAFETY (both): the lengths were checked above.\nunsafe { f() }\nunsafe { g() }\n"),
        [""; 0]
    );
    assert!(only(KERNEL, "// SAFETY: ffi\nunsafe { f(n) }\n").contains("says too little"));
    let far =
        format!("// SAFETY: `n` elements were checked above.\n{}unsafe {{ f(n) }}\n", "x();\n".repeat(20));
    assert!(only(KERNEL, &far).starts_with("22: an unsafe block without"));
    assert_eq!(found("crates/resnet-train/src/a.rs", "// unsafe { }\nlet s = \"unsafe { }\";\n"), [""; 0]);
}

#[test]
fn files_stay_small() {
    let text = |n| "x\n".repeat(n);
    assert_eq!(found("a.rs", &text(400)), [""; 0]);
    let warned = check(&File { path: "a.rs", text: &text(401) });
    assert!(warned.len() == 1 && warned[0].warning);
    let refused = check(&File { path: "a.rs", text: &text(701) });
    assert!(refused.len() == 1 && !refused[0].warning);
    assert_eq!(found("a.md", &text(701)), [""; 0]);
    assert_eq!(found("a.rs", &format!("// {LONG_BECAUSE}it is a table\n{}", text(701))), [""; 0]);
    assert!(only("a.rs", &format!("// {LONG_BECAUSE}\n{}", text(701))).contains("needs a reason"));
    assert!(weight("a.bin", WEIGHT_BYTES).is_none() && weight("a.bin", WEIGHT_BYTES + 1).is_some());
}

#[test]
fn backends_are_chosen_in_one_file() {
    for feature in ["cpu", "cuda"] {
        let text = format!("#[cfg({} = \"{feature}\")]\n", "feature");
        assert!(
            only("crates/resnet/src/lib.rs", &format!("#![forbid(unsafe_code)]\n{text}"))
                .starts_with("2: a backend")
        );
        assert_eq!(found(BACKEND_CFG_ALLOWED, &text), [""; 0]);
    }
}

#[test]
fn crate_roots_and_manifests() {
    assert!(only("crates/a/src/lib.rs", "//! Why.\n").contains("forbids unsafe code"));
    assert_eq!(found("crates/a/src/lib.rs", "//! Why.\n#![deny(unsafe_code)]\n"), [""; 0]);
    assert!(only("crates/a/Cargo.toml", "[package]\n[lints]\n[dependencies]\n").contains("lints"));
    assert_eq!(found("crates/a/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n"), [""; 0]);
    assert_eq!(found("Cargo.toml", "[workspace]\n"), [""; 0]);
}

#[test]
fn forbidden_text_is_found_where_it_is_meant() {
    for (first, second, _) in FORBIDDEN {
        let text = format!("first\nsee {first}{second} there\n");
        assert!(found("a.md", &text).iter().any(|finding| finding.starts_with("2: ")), "{first}{second}");
    }
    let path = |middle: &str| format!("cp a/{middle}/b {{dir}}/{middle}/c $D/x-{middle}/d\n");
    assert_eq!(found("a.md", &path(&format!("{}{}", "tm", "p"))), [""; 0], "a part of a longer path");
    let word = format!("{}{}S and MAS{}{}\n", "TO", "DO", "TO", "DON");
    assert_eq!(found("a.md", &word), [""; 0], "a part of a longer word");
}

/// This folder holds the patterns, and must pass them.
#[test]
fn tidy_is_tidy() {
    let sources = [
        ("rules.rs", include_str!("../rules.rs")),
        ("tests.rs", include_str!("tests.rs")),
        ("mod.rs", include_str!("../mod.rs")),
    ];
    for (name, text) in sources {
        let path = format!("xtask/src/tidy/{name}");
        let findings = check(&File { path: &path, text });
        assert!(findings.iter().all(|finding| finding.warning), "{findings:?}");
    }
}
