//! The way around the branch.

use super::build::{Net, Unit};
use super::{Shortcut, Variant};
use crate::{NodeId, Result};

/// Whether the input of a block cannot be added to its output as it is.
fn changes_shape(net: &Net<'_>, x: NodeId, unit: &Unit) -> bool {
    unit.stride != 1 || net.graph.shape(x).c != unit.out
}

/// The input of a block in the shape of its output.
pub(super) fn shortcut(net: &mut Net<'_>, x: NodeId, unit: &Unit) -> Result<NodeId> {
    if !changes_shape(net, x, unit) {
        return Ok(x);
    }
    let post_activation = net.spec.variant != Variant::V2;
    match net.spec.shortcut {
        Shortcut::Projection if post_activation => {
            let y = net.conv("downsample.0", x, 1, unit.out, unit.stride)?;
            net.norm("downsample.1", y)
        }
        Shortcut::Projection | Shortcut::BareProjection => {
            net.bare_conv("downsample.0", x, 1, unit.out, unit.stride)
        }
        Shortcut::Pooled => {
            let y = if unit.stride == 1 { x } else { net.halve("downsample.0", x, unit.stride)? };
            if !post_activation {
                return net.bare_conv("downsample.1", y, 1, unit.out, 1);
            }
            let y = net.conv("downsample.1", y, 1, unit.out, 1)?;
            net.norm("downsample.2", y)
        }
        Shortcut::ZeroPad => net.zero_pad("downsample", x, unit.stride, unit.out),
    }
}

/// The way around a pre-activation branch: `x` is the input of the block, `a` its pre-activation, which the branch reads.
///
/// Where the shape changes the shortcut reads the pre-activation too; elsewhere the input passes untouched.
pub(super) fn pre_activation_shortcut(
    net: &mut Net<'_>,
    x: NodeId,
    a: NodeId,
    unit: &Unit,
) -> Result<NodeId> {
    let only_stride = unit.stride != 1 && net.graph.shape(x).c == unit.out;
    if only_stride && net.spec.conventions.v2_stride_last_block {
        return net.skip_pixels("downsample", x, unit.stride);
    }
    if changes_shape(net, x, unit) { shortcut(net, a, unit) } else { Ok(x) }
}

/// Adds the shortcut to a post-activation branch. A plain network has none.
pub(super) fn add_shortcut(net: &mut Net<'_>, x: NodeId, branch: NodeId, unit: &Unit) -> Result<NodeId> {
    if net.spec.variant == Variant::Plain {
        return Ok(branch);
    }
    let x = shortcut(net, x, unit)?;
    net.add(branch, x)
}
