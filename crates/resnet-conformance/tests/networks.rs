//! The reference, the executor and the zoo together compute what PyTorch computes.

/// PyTorch's numbers are f64 and so are the reference's; only its downloads are rounded to f32 (2⁻²⁴ = 6e-8).
#[test]
fn networks_as_pytorch_computes_them() {
    resnet_conformance::golden::networks(&mut resnet_conformance::Reference::new(), 2e-7).unwrap();
}
