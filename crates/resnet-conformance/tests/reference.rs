//! The reference keeps its own laws, in f64 and over bounded numbers.

use resnet_conformance::{Reference, conformance};

conformance!(Reference::new());

/// Laws of the core that need a backend to be checked on.
mod rewriting {
    use resnet_conformance::laws::network;

    #[test]
    fn fusing_a_resnet_changes_nothing() {
        network::fusing_a_resnet_changes_nothing();
    }

    #[test]
    fn fusing_any_graph_changes_nothing() {
        network::fusing_any_graph_changes_nothing();
    }
}
