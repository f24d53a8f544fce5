//! The laws hold for the reference in f64, and, what says more, for the same loops in f32: the bounds leave room for rounding.

use resnet_conformance::{Reference, conformance};

conformance!(Reference::new());
conformance!(single, Reference::<f32>::default());

/// Laws of the core that need a backend to be checked on.
mod rewriting {
    use resnet_conformance::laws::network;

    #[test]
    fn fusing_a_resnet_changes_nothing() {
        network::fusing_a_resnet_changes_nothing();
    }

    #[test]
    fn freezing_changes_no_other_gradient() {
        network::freezing_changes_no_other_gradient();
    }

    #[test]
    fn fusing_any_graph_changes_nothing() {
        network::fusing_any_graph_changes_nothing();
    }
}

/// What is stored has 16 bits; the bounds leave room for factors that were rounded or not.
mod narrow {
    use resnet_conformance::{Reference, conformance};
    use resnet_core::DType;

    conformance!(bf16, Reference::<f32>::default(), DType::Bf16);
    conformance!(f16, Reference::<f32>::default(), DType::F16);
}
