//! What training leaves as it is.

use crate::graph::{Graph, Layer, NodeId};
use crate::{Error, ParamId, Result};

/// What training leaves as it is: the first layers, and normalisations.
///
/// No gradient is computed that nothing trained needs: the backward pass ends at the first trained layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freeze {
    /// Layers of the graph, counted from the picture, whose parameters are not trained.
    pub layers: usize,
    /// Which normalisations keep their running statistics and normalise by them, in training too.
    pub norms: FrozenNorms,
}

/// Which normalisations are frozen: they normalise by running statistics, and neither these nor γ and β change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrozenNorms {
    /// Those of frozen layers.
    #[default]
    OfFrozenLayers,
    /// None. In frozen layers γ and β stay, but batches are normalised by their own statistics, which the running ones follow.
    None,
    /// All. Gradients pass through them by the fixed scale.
    All,
}

impl Freeze {
    /// Freezes all layers before the first one of this name: a layer (`layer4.0.conv1`, `fc`) or what stands before a dot in
    /// one (`layer4`).
    ///
    /// # Errors
    /// [`Error::Invalid`] listing the parts of the network, if there is none of this name.
    pub fn until(graph: &Graph, name: &str, norms: FrozenNorms) -> Result<Self> {
        let below = |layer: &str| {
            layer.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let found =
            graph.nodes().iter().position(|node| below(&node.name) && !matches!(node.layer, Layer::Input));
        let layers = found.ok_or_else(|| {
            let parts = graph.params().iter().map(|p| p.name.split('.').next().unwrap_or_default());
            let mut listed: Vec<&str> = vec![];
            for part in parts.filter(|p| !p.is_empty()) {
                if !listed.contains(&part) {
                    listed.push(part);
                }
            }
            Error::invalid("freeze", format!("no layer `{name}`; the network has {}", listed.join(", ")))
        })?;
        Ok(Self { layers, norms })
    }

    /// Whether nothing is frozen.
    pub fn is_none(&self) -> bool {
        self.layers == 0 && self.norms != FrozenNorms::All
    }

    /// For each parameter of a network, whether it is trained.
    pub fn trained(&self, graph: &Graph) -> Vec<bool> {
        let mut trained = vec![false; graph.params().len()];
        for (i, node) in graph.nodes().iter().enumerate() {
            let is_norm = matches!(node.layer, Layer::Norm(_));
            let frozen = i < self.layers || is_norm && self.norms == FrozenNorms::All;
            for &ParamId(p) in &node.params {
                trained[p] = !frozen && graph.params()[p].kind.is_trainable();
            }
        }
        trained
    }

    /// Whether a normalisation uses its running statistics in training.
    pub(super) fn fixes_norm(&self, NodeId(node): NodeId) -> bool {
        match self.norms {
            FrozenNorms::All => true,
            FrozenNorms::OfFrozenLayers => node < self.layers,
            FrozenNorms::None => false,
        }
    }
}

/// Whether something trained, or the picture if its gradient is wanted, stands at or before each node.
pub(super) fn needs_gradient(graph: &Graph, of_picture: bool, trained: &[bool]) -> Vec<bool> {
    let mut needs = vec![];
    for node in graph.nodes() {
        let own = match node.layer {
            Layer::Input => of_picture,
            _ => node.params.iter().any(|p| trained[p.0]),
        };
        needs.push(own || node.inputs.iter().any(|i| needs[i.0]));
    }
    needs
}
