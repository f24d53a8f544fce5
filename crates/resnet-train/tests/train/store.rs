//! Checkpoints under crashes, faults and damage.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use resnet_train::Error;
use resnet_train::checkpoint::Store;
use resnet_train::checkpoint::vfs::{StdVfs, Vfs};

use super::memory_fs::{Fault, MemoryFs};

const N_BLOCKS: usize = 2;

fn store(fs: &MemoryFs) -> Store {
    Store::new(Arc::new(fs.clone()), "run/checkpoints", 2)
}

fn tensors(step: u64) -> Vec<u8> {
    (0..N_BLOCKS * 512 + 7).map(|i| (i as u64 * (step + 3)) as u8).collect()
}

fn save(store: &Store, step: u64, best: Option<u64>) -> resnet_train::Result<()> {
    let state = format!("step {step}");
    store.save(step, &[("tensors", &tensors(step)), ("state", state.as_bytes())], best).map(drop)
}

/// The step of the newest checkpoint, its content checked.
fn newest(fs: &MemoryFs) -> Option<u64> {
    let found = store(fs).newest().unwrap().found?;
    let file = |name: &str| found.content.iter().find(|(n, _)| n == name).unwrap().1.clone();
    assert_eq!(file("tensors"), tensors(found.step));
    assert_eq!(file("state"), format!("step {}", found.step).into_bytes());
    Some(found.step)
}

fn with_run_dir(fs: MemoryFs) -> MemoryFs {
    fs.create_dir_all(Path::new("run")).unwrap();
    fs.sync_dir(Path::new("")).unwrap();
    fs
}

/// Saves four times; crashes after every operation; returns how many states there were and how many of them had lost a
/// checkpoint whose save had returned.
fn crash_everywhere(fs: MemoryFs) -> (usize, usize) {
    let fs = with_run_dir(fs);
    let start = fs.moment();
    let store = store(&fs);
    let mut saved = vec![];
    for step in 1..=4 {
        save(&store, step, Some(1)).unwrap();
        saved.push((fs.moment(), step));
    }
    let (mut n_states, mut n_bad) = (0, 0);
    for moment in start..=fs.moment() {
        let promised = saved.iter().rev().find(|(at, _)| *at <= moment).map(|(_, step)| *step);
        fs.crash(moment, |after| {
            n_states += 1;
            n_bad += usize::from(newest(&after) < promised);
        });
    }
    (n_states, n_bad)
}

#[test]
fn no_crash_loses_a_saved_checkpoint() {
    let (n_states, n_bad) = crash_everywhere(MemoryFs::new());
    assert!(n_states > 1000, "only {n_states} states");
    assert_eq!(n_bad, 0, "of {n_states} states");
}

/// The enumeration is able to fail: without syncs it finds states that lost a checkpoint.
#[test]
fn the_enumeration_finds_missing_syncs() {
    let (n_states, n_bad) = crash_everywhere(MemoryFs::without_sync());
    assert!(n_bad > n_states / 10, "{n_bad} of {n_states}");
}

#[test]
fn every_failing_operation_leaves_the_old_checkpoint() {
    let kinds = [
        ErrorKind::StorageFull,
        ErrorKind::PermissionDenied,
        ErrorKind::QuotaExceeded,
        ErrorKind::StaleNetworkFileHandle,
        ErrorKind::Interrupted,
        ErrorKind::Other,
        ErrorKind::NotFound,
    ];
    let before = with_run_dir(MemoryFs::new());
    for step in 1..=3 {
        save(&store(&before), step, None).unwrap();
    }
    for fault in kinds.map(Fault::Error).into_iter().chain([Fault::ShortWrite]) {
        for n in 1.. {
            let fs = before.copy();
            fs.fail(n, fault);
            let result = save(&store(&fs), 4, None);
            if fs.n_calls() < n {
                assert!(n > 15, "only {n} operations were failed");
                break;
            }
            fs.heal();
            let found = newest(&fs).unwrap();
            match &result {
                Ok(()) => assert_eq!(found, 4, "{fault:?} at {n}"),
                Err(Error::Io { path, .. } | Error::Checkpoint { path, .. }) => {
                    assert!(path.starts_with("run"), "{path:?} says nothing");
                    assert!(found >= 3, "{fault:?} at {n}: {found}");
                }
                Err(other) => panic!("{other}"),
            }
            save(&store(&fs), 5, None).unwrap();
            assert_eq!(newest(&fs), Some(5), "{fault:?} at {n}");
        }
    }
}

#[test]
fn keeps_the_last_two_and_the_best() {
    let fs = with_run_dir(MemoryFs::new());
    for step in [0, 10, 20, 30, 40] {
        save(&store(&fs), step, Some(10)).unwrap();
    }
    assert_eq!(store(&fs).steps().unwrap(), [10, 30, 40]);
    assert_eq!(fs.read(Path::new("run/checkpoints/LATEST"), 100).unwrap(), b"step-0000040\n");
}

#[test]
fn damage_is_found_and_the_one_before_is_taken() {
    let before = with_run_dir(MemoryFs::new());
    for step in 1..=2 {
        save(&store(&before), step, None).unwrap();
    }
    for file in ["tensors", "state", "manifest.json"] {
        let path = store(&before).path_of(2).join(file);
        let len = before.read(&path, 1 << 20).unwrap().len();
        let falls_back = |fs: MemoryFs, what: String| {
            let newest = store(&fs).newest().unwrap();
            assert_eq!(newest.found.unwrap().step, 1, "{file}: {what}");
            let message = newest.rejected[0].to_string();
            assert!(message.contains("step-0000002"), "{message}");
        };
        for cut in 0..len {
            let fs = before.copy();
            fs.cut(&path, cut);
            falls_back(fs, format!("cut to {cut}"));
        }
        for byte in 0..len {
            let fs = before.copy();
            fs.flip(&path, byte, (byte % 8) as u8);
            // White space of the manifest may change into other white space without harm.
            if file != "manifest.json" || store(&fs).load(2).is_err() {
                falls_back(fs, format!("bit of byte {byte}"));
            } else {
                assert_eq!(newest(&fs), Some(2));
            }
        }
    }
}

#[test]
fn bad_checkpoints_stay_and_do_not_push_out_good_ones() {
    let fs = with_run_dir(MemoryFs::new());
    for step in 1..=3 {
        save(&store(&fs), step, None).unwrap();
    }
    fs.flip(&store(&fs).path_of(3).join("tensors"), 0, 0);
    save(&store(&fs), 4, None).unwrap();
    assert_eq!(store(&fs).steps().unwrap(), [2, 3, 4], "2 and 4 are good, 3 is kept for inspection");
}

#[test]
fn another_version_is_refused_naming_both() {
    let fs = with_run_dir(MemoryFs::new());
    save(&store(&fs), 1, None).unwrap();
    let path = store(&fs).path_of(1).join("manifest.json");
    let json = String::from_utf8(fs.read(&path, 1 << 20).unwrap()).unwrap();
    let put = |text: String| {
        let mut file = fs.create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        store(&fs).load(1).unwrap_err().to_string()
    };
    let message = put(json.replace("\"format\": 1", "\"format\": 7"));
    assert!(message.contains("format 7") && message.contains("format 1"), "{message}");
    let message = put(json.replace("\"format\": 1", "\"format\": 1, \"colour\": 3"));
    assert!(message.contains("colour"), "{message}");
    let message = put(json.replace("\"state\"", "\"../state\""));
    assert!(message.contains("no file of its own directory"), "{message}");
}

#[test]
fn works_on_a_real_disk_and_sweeps_what_a_kill_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(Arc::new(StdVfs), dir.path().join("checkpoints"), 2);
    assert!(store.newest().unwrap().found.is_none());
    for step in 1..=4 {
        save(&store, step, None).unwrap();
    }
    let left = dir.path().join("checkpoints/.tmp-1-5");
    std::fs::create_dir(&left).unwrap();
    store.sweep().unwrap();
    assert!(!left.exists());
    assert_eq!(store.newest().unwrap().found.unwrap().step, 4);
    assert_eq!(store.steps().unwrap(), [3, 4]);
}
