//! The reference keeps its own laws, in f64 and over bounded numbers.

use resnet_conformance::{Reference, conformance};

conformance!(Reference::new());
