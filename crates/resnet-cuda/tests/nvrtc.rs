//! Every kernel through NVRTC: it compiles for each architecture, does not spill, and becomes the instructions that were meant.
//!
//! No device and no driver are needed. `cargo xtask cuda-wheels` fetches what is.
//! Without it these tests print `SKIPPED`; `RESNET_TEST_REQUIRE_NVRTC=1` makes that a failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use resnet_cuda::compile::{Arch, Cache, CompileError, Compiler, Cubin, Unit, usage};
use resnet_cuda::kernels;
use resnet_cuda::search::{Environment, Search};
use resnet_cuda::tensor::Element;
use resnet_cuda::tensor::kernel::{Direction, Kernel, Prologue, helpers};
use resnet_cuda::tensor::tile::Tile;

const REQUIRE: &str = "RESNET_TEST_REQUIRE_NVRTC";

fn search() -> Search {
    Search::usual(&Environment::of_process())
}

fn skipped(what: &str) {
    assert!(std::env::var_os(REQUIRE).is_none(), "{what}");
    eprintln!("SKIPPED: {what}; `cargo xtask cuda-wheels` fetches it");
}

/// NVRTC with a cache below the target folder, or one loud line.
fn compiler() -> Option<Compiler> {
    let cache = Cache::at(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cubins"));
    match Compiler::open(&search(), Some(cache)) {
        Ok(compiler) => Some(compiler),
        Err(error) => {
            skipped(&error.to_string());
            None
        }
    }
}

/// A unit's code. Tests run side by side and ask for the same kernels: whoever comes first compiles, the others wait for that one.
fn cubin(compiler: &Compiler, unit: &Unit, arch: Arch) -> Cubin {
    type Cell = OnceLock<Cubin>;
    static KNOWN: Mutex<BTreeMap<(String, String), &'static Cell>> = Mutex::new(BTreeMap::new());
    let cell: &'static Cell = {
        let name = format!("{} {:?}", unit.name, unit.macros);
        let mut known = KNOWN.lock().expect("no panic");
        known.entry((name, arch.to_string())).or_insert_with(|| Box::leak(Box::default()))
    };
    cell.get_or_init(|| compiler.cubin(unit, arch).unwrap_or_else(|error| panic!("{error}"))).clone()
}

/// Runs a check on each item, on as many threads as there are processors, and reports the first failure.
fn for_each<T: Sync>(items: &[T], check: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(item);
                }
            });
        }
    });
}

/// Compiles a unit and says which of its kernels spill registers or keep something in local memory.
fn spills(compiler: &Compiler, unit: &Unit, arch: Arch) -> Vec<String> {
    let cubin = cubin(compiler, unit, arch);
    assert!(cubin.code.starts_with(b"\x7fELF"), "{}", unit.name);
    assert!(!cubin.log.contains("warning"), "{}:\n{}", unit.name, cubin.log);
    // What the assembler says where it has to wait for each product of a warpgroup before the next.
    assert!(!cubin.log.contains("serialized"), "{}:\n{}", unit.name, cubin.log);
    let kernels = usage(&cubin.log);
    assert!(!kernels.is_empty(), "{}: the log names no kernel:\n{}", unit.name, cubin.log);
    let spills = kernels.into_iter().filter(|kernel| kernel.spill_bytes != 0 || kernel.stack_bytes != 0);
    spills.map(|kernel| format!("{arch}: {kernel:?}")).collect()
}

#[test]
fn every_unit_compiles_for_every_architecture_and_nothing_spills() {
    let Some(compiler) = compiler() else { return };
    let mut cases = Vec::new();
    for arch in [Arch::SM_80, Arch::SM_90A, Arch::SM_100A] {
        if !compiler.knows(arch) {
            eprintln!("NVRTC {} does not know {arch}", compiler.version());
            continue;
        }
        cases.extend(kernels::UNITS.iter().cloned().chain([helpers()]).map(|unit| (unit, arch)));
        // Of the family on tensor cores, all on the two architectures it is made for, one of each direction on the newest.
        // Products of warpgroups are Hopper's alone.
        let all = Kernel::all().into_iter();
        let some = all.filter(|kernel| match arch {
            Arch::SM_90A => true,
            Arch::SM_100A => kernel.tile == Tile::LARGE && kernel.element == Element::Bf16,
            _ => !kernel.tile.wgmma,
        });
        cases.extend(some.map(|kernel| (kernel.unit(), arch)));
    }
    let found = Mutex::new(Vec::new());
    for_each(&cases, |(unit, arch)| found.lock().expect("no panic").extend(spills(&compiler, unit, *arch)));
    let found = found.into_inner().expect("no panic");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn kernels_of_the_family_have_their_names_and_fit_a_multiprocessor() {
    let Some(compiler) = compiler() else { return };
    for_each(&Kernel::all(), |kernel| {
        let cubin = cubin(&compiler, &kernel.unit(), Arch::SM_90A);
        let [usage] = usage(&cubin.log).try_into().expect("one kernel");
        assert_eq!(usage.kernel, kernel.name());
        // A multiprocessor has four times 16,384 registers; a warp has eights of them for each lane, and is in one of the four.
        let warps = kernel.threads().div_ceil(32).div_ceil(4);
        let registers = usage.registers.next_multiple_of(8) * 32 * warps;
        assert!(registers <= 16_384, "{usage:?}");
    });
}

#[test]
fn ptx_has_the_instructions_that_are_meant() {
    let Some(compiler) = compiler() else { return };
    for (element, product) in [
        (Element::Bf16, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"),
        (Element::F16, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"),
        (Element::Tf32, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"),
    ] {
        for direction in [
            Direction::Forward(Prologue::Affine),
            Direction::BackwardData(Prologue::Grad),
            Direction::BackwardWeight(Prologue::Grad, Prologue::Affine),
        ] {
            let kernel = Kernel { direction, element, tile: Tile::SMALL };
            let ptx = compiler.ptx(&kernel.unit(), Arch::SM_80).unwrap_or_else(|error| panic!("{error}"));
            let has = |what: &str| assert!(ptx.contains(what), "{} has no {what}", kernel.name());
            has(product);
            has("cp.async.cg.shared.global");
            match (direction, element) {
                (Direction::BackwardWeight(..), Element::Tf32) => {}
                (Direction::BackwardWeight(..), _) => has("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"),
                _ => has("ldmatrix.sync.aligned.m8n8.x4.shared.b16"),
            }
            if element == Element::Tf32 {
                has("cvt.rna.tf32.f32");
            }
        }
    }
}

#[test]
fn warpgroups_have_the_instructions_that_are_meant_and_are_refused_elsewhere() {
    let Some(compiler) = compiler() else { return };
    let disassembler = disassembler();
    for (element, product) in [
        (Element::Bf16, "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16"),
        (Element::F16, "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16"),
    ] {
        for direction in [
            Direction::Forward(Prologue::Affine),
            Direction::BackwardData(Prologue::Grad),
            Direction::BackwardWeight(Prologue::Grad, Prologue::Affine),
        ] {
            let kernel = Kernel { direction, element, tile: Tile::WIDE_WGMMA };
            let (unit, name) = (kernel.unit(), kernel.name());
            let ptx = compiler.ptx(&unit, Arch::SM_90A).unwrap_or_else(|error| panic!("{error}"));
            for what in [
                product,
                "wgmma.fence.sync.aligned",
                "wgmma.commit_group.sync.aligned",
                "wgmma.wait_group.sync.aligned",
                "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes",
                "mbarrier.try_wait.parity",
                "mbarrier.arrive.expect_tx",
                "fence.mbarrier_init.release.cluster",
            ] {
                assert!(ptx.contains(what), "{name} has no {what}");
            }
            let error = compiler.cubin(&unit, Arch::SM_80).expect_err("has none of them").to_string();
            assert!(error.contains("for sm_80") && error.contains("wgmma"), "{name}: {error}");

            let Some(disassembler) = &disassembler else { continue };
            let cubin = compiler.cubin(&unit, Arch::SM_90A).unwrap_or_else(|error| panic!("{error}"));
            let sass = sass(disassembler, &cubin.code);
            let count = |what: &str| sass.lines().filter(|line| line.contains(what)).count();
            // Four steps along the sum of a stage, for two times 64 columns.
            assert_eq!(count("HGMMA.64x64x16.F32"), 8, "{name}");
            // Of dy, y and x in halves of 64 channels; else of pixels (and y) and weights.
            let copies = match direction {
                Direction::Forward(_) => 2,
                Direction::BackwardData(_) => 3,
                Direction::BackwardWeight(..) => 6,
            };
            assert_eq!(count("UTMALDG.2D"), copies, "{name}");
            assert!(count("SYNCS.PHASECHK.TRANS64.TRYWAIT") > 0, "{name}: nothing waits for a phase");
            assert_eq!(count("STL"), 0, "{name}: something lies in local memory");
        }
    }
}

/// nvdisasm beside the libraries, or on the path.
fn disassembler() -> Option<PathBuf> {
    let beside = search().folders.into_iter().filter_map(|lib| Some(lib.parent()?.join("bin")));
    let path: Vec<PathBuf> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    let found = beside.chain(path).map(|folder| folder.join("nvdisasm")).find(|file| file.is_file());
    if found.is_none() {
        skipped("nvdisasm was not found");
    }
    found
}

fn sass(disassembler: &Path, code: &[u8]) -> String {
    let mut file = tempfile::Builder::new().suffix(".cubin").tempfile().expect("temporary file");
    std::io::Write::write_all(&mut file, code).expect("written");
    let output = Command::new(disassembler).arg("-c").arg(file.path()).output().expect("nvdisasm starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn machine_code_has_the_instructions_that_are_meant() {
    let (Some(compiler), Some(disassembler)) = (compiler(), disassembler()) else { return };
    for (element, product) in [
        (Element::Bf16, "HMMA.16816.F32.BF16"),
        (Element::F16, "HMMA.16816.F32"),
        (Element::Tf32, "HMMA.1688.F32.TF32"),
    ] {
        for direction in [
            Direction::Forward(Prologue::Affine),
            Direction::BackwardData(Prologue::Grad),
            Direction::BackwardWeight(Prologue::Grad, Prologue::Affine),
        ] {
            for arch in [Arch::SM_80, Arch::SM_90A] {
                let kernel = Kernel { direction, element, tile: Tile::LARGE };
                let cubin = cubin(&compiler, &kernel.unit(), arch);
                let sass = sass(&disassembler, &cubin.code);
                let count = |what: &str| sass.lines().filter(|line| line.contains(what)).count();
                let name = kernel.name();
                // A warp multiplies 64 × 32 by four chunks of 16 bytes: 4 × 4 tiles in two steps.
                assert!(count(product) >= 32, "{name} on {arch}: {} times {product}", count(product));
                assert!(
                    count("LDGSTS.E.BYPASS.128") > 0,
                    "{name} on {arch}: no asynchronous copies of 16 bytes"
                );
                match (direction, element) {
                    (Direction::BackwardWeight(..), Element::Tf32) => {}
                    (Direction::BackwardWeight(..), _) => {
                        assert!(count("LDSM.16.MT88.4") > 0, "{name} on {arch}")
                    }
                    _ => assert!(count("LDSM.16.M88.4") > 0, "{name} on {arch}"),
                }
                if !matches!(direction, Direction::BackwardWeight(..)) {
                    assert!(count("STG.E.128") > 0, "{name} on {arch}: no stores of 16 bytes");
                }
                assert_eq!(count("STL"), 0, "{name} on {arch}: something lies in local memory");
            }
        }
    }
}

#[test]
fn errors_carry_the_log_with_file_and_line() {
    let Some(compiler) = compiler() else { return };
    let broken = Unit {
        name: "broken.cu",
        text: "#include \"help.cuh\"\nextern \"C\" __global__ void f(int* p) { *p = HELP; }\n",
        headers: &[("help.cuh", "#define HELP nothing_of_this_name\n")],
        macros: vec![],
    };
    let error = compiler.cubin(&broken, Arch::SM_80).expect_err("refused");
    let CompileError::Rejected { .. } = error else { panic!("{error}") };
    let message = error.to_string();
    assert!(message.contains("kernels/broken.cu for sm_80"), "{message}");
    assert!(message.contains("broken.cu(2)") && message.contains("nothing_of_this_name"), "{message}");

    // An instruction of a later generation.
    let later = Unit {
        name: "later.cu",
        text: "extern \"C\" __global__ void f() { asm volatile(\"wgmma.fence.sync.aligned;\"); }\n",
        headers: &[],
        macros: vec![],
    };
    let error = compiler.cubin(&later, Arch::SM_80).expect_err("refused").to_string();
    assert!(error.contains("wgmma"), "{error}");
    compiler.cubin(&later, Arch::SM_90A).expect("Hopper has it");
}

#[test]
fn an_unknown_architecture_is_named() {
    let Some(compiler) = compiler() else { return };
    let arch = Arch::of(resnet_cuda::probe::Capability { major: 77, minor: 0 });
    let error = compiler.cubin(&helpers(), arch).expect_err("there is none").to_string();
    assert!(error.contains("does not know sm_770a"), "{error}");
}

#[test]
fn the_cache_returns_what_was_compiled() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let Ok(fresh) = Compiler::open(&search(), Some(Cache::at(dir.path()))) else {
        return skipped("NVRTC was not found");
    };
    let unit = Unit {
        name: "small.cu",
        text: "extern \"C\" __global__ void f(int* p) { *p = VALUE; }\n",
        headers: &[],
        macros: vec![("VALUE", "1".to_owned())],
    };
    let first = fresh.cubin(&unit, Arch::SM_80).expect("compiles");
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
    assert_eq!(fresh.cubin(&unit, Arch::SM_80).expect("found"), first);
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
    let other = Unit { macros: vec![("VALUE", "2".to_owned())], ..unit };
    assert_ne!(fresh.cubin(&other, Arch::SM_80).expect("compiles").code, first.code);
}
