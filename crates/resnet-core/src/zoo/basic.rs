//! The basic block: two 3×3 convolutions.

use super::build::{Net, Unit};
use super::shortcut::{add_shortcut, pre_activation_shortcut};
use crate::{NodeId, Result};

/// He et al. 2015, figure 5, left: `relu(x + bn(conv(relu(bn(conv(x))))))`.
pub(super) fn post_activation(net: &mut Net<'_>, x: NodeId, unit: &Unit) -> Result<NodeId> {
    let y = net.conv("conv1", x, 3, unit.middle, unit.stride)?;
    let y = net.norm("bn1", y)?;
    let y = net.relu("relu1", y)?;
    let y = net.conv("conv2", y, 3, unit.out, 1)?;
    let y = net.last_norm("bn2", y)?;
    let z = add_shortcut(net, x, y, unit)?;
    net.relu("relu2", z)
}

/// He et al. 2016, figure 4e: `x + conv(relu(bn(conv(relu(bn(x))))))`.
pub(super) fn pre_activation(net: &mut Net<'_>, x: NodeId, unit: &Unit) -> Result<NodeId> {
    let a = net.norm("bn1", x)?;
    let a = net.relu("relu1", a)?;
    let y = net.conv("conv1", a, 3, unit.middle, unit.stride)?;
    let y = net.norm("bn2", y)?;
    let y = net.relu("relu2", y)?;
    let y = net.last_conv("conv2", y, 3, unit.out)?;
    let x = pre_activation_shortcut(net, x, a, unit)?;
    net.add(y, x)
}
