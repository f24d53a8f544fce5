//! What is said when memory runs out.

mod common;

use resnet_conformance::strategy::networks::tiny;
use resnet_core::zoo::{Block, Shortcut, Variant};
use resnet_core::{Backend, Error, Executor, LowerOptions};
use resnet_cuda::CudaBackend;
use resnet_cuda::machine::emulator::Emulator;

fn with_memory(bytes: usize) -> CudaBackend {
    common::require_emulator();
    CudaBackend::on(Box::new(Emulator::with_memory(bytes).expect("there is a compiler")))
        .expect("kernels compile")
}

#[test]
fn what_was_asked_and_what_is_free() {
    let mut backend = with_memory(1 << 20);
    let _kept = backend.alloc(1 << 19).expect("fits");
    match backend.alloc(1 << 20) {
        Err(Error::OutOfMemory { backend: "cuda", requested_bytes, free_bytes }) => {
            assert_eq!((requested_bytes, free_bytes), (1 << 20, 1 << 19));
        }
        other => panic!("{other:?}"),
    }
}

/// The batch that is named fits, and is not half of what would.
#[test]
fn which_batch_would_fit() {
    let spec = tiny(Variant::V1, Block::Basic, Shortcut::Projection);
    let graph = spec.build().expect("is valid");
    let open = |batch: usize| {
        Executor::new(&mut with_memory(4 << 20), &graph, LowerOptions::train(batch), 0.0).map(|_| ())
    };
    open(1).expect("one picture fits");
    let error = open(1024).expect_err("does not fit");
    assert!(matches!(&error, Error::BatchTooLarge { batch: 1024, .. }), "{error:?}");
    let message = error.to_string();
    let named =
        message.split("a batch of ").nth(2).and_then(|text| text.split(' ').next()).expect("names a batch");
    let named: usize = named.parse().expect("is a number");
    // Inputs and scratch are not in the estimate, so a few pictures less.
    open(named * 7 / 8).unwrap_or_else(|error| panic!("{message}; yet {error}"));
    open(named * 2).expect_err("is far too much");
}
