//! The way around the branch.

use super::build::{Net, Unit};
use super::{Shortcut, Variant};
use crate::{NodeId, Result};

/// Whether the input of a block cannot be added to its output as it is.
pub(super) fn changes_shape(net: &Net<'_>, x: NodeId, unit: &Unit) -> bool {
    unit.stride != 1 || net.graph.shape(x).c != unit.out
}

/// The input of a block in the shape of its output.
pub(super) fn shortcut(net: &mut Net<'_>, x: NodeId, unit: &Unit) -> Result<NodeId> {
    if !changes_shape(net, x, unit) {
        return Ok(x);
    }
    let post_activation = net.spec.variant != Variant::V2;
    match net.spec.shortcut {
        Shortcut::BareProjection => net.conv("downsample.0", x, 1, unit.out, unit.stride),
        Shortcut::Projection => {
            let y = net.conv("downsample.0", x, 1, unit.out, unit.stride)?;
            if post_activation { net.norm("downsample.1", y) } else { Ok(y) }
        }
        Shortcut::Pooled => {
            let y = if unit.stride == 1 { x } else { net.halve("downsample.0", x, unit.stride)? };
            let y = net.conv("downsample.1", y, 1, unit.out, 1)?;
            if post_activation { net.norm("downsample.2", y) } else { Ok(y) }
        }
        Shortcut::ZeroPad => net.zero_pad("downsample", x, unit.stride, unit.out),
    }
}

/// Adds the shortcut to a post-activation branch. A plain network has none.
pub(super) fn add_shortcut(net: &mut Net<'_>, x: NodeId, branch: NodeId, unit: &Unit) -> Result<NodeId> {
    if net.spec.variant == Variant::Plain {
        return Ok(branch);
    }
    let x = shortcut(net, x, unit)?;
    net.add(branch, x)
}
