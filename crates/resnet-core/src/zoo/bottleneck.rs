//! The bottleneck block: 1×1 to fewer channels, 3×3, 1×1 to more.

use super::build::{Net, Unit};
use super::shortcut::{add_shortcut, pre_activation_shortcut};
use crate::{NodeId, Result};

/// He et al. 2015, figure 5, right. The 3×3 may be grouped (Xie et al. 2016, *Aggregated Residual Transformations*, figure 3c).
pub(super) fn post_activation(net: &mut Net<'_>, x: NodeId, unit: &Unit) -> Result<NodeId> {
    let (stride1, stride2) = strides(net, unit);
    let y = net.conv("conv1", x, 1, unit.middle, stride1)?;
    let y = net.norm("bn1", y)?;
    let y = net.relu("relu1", y)?;
    let y = net.grouped_conv("conv2", y, 3, unit.middle, stride2, net.spec.groups)?;
    let y = net.norm("bn2", y)?;
    let y = net.relu("relu2", y)?;
    let y = net.conv("conv3", y, 1, unit.out, 1)?;
    let y = net.last_norm("bn3", y)?;
    let z = add_shortcut(net, x, y, unit)?;
    net.relu("relu3", z)
}

/// He et al. 2016, figure 4e, with three convolutions.
pub(super) fn pre_activation(net: &mut Net<'_>, x: NodeId, unit: &Unit) -> Result<NodeId> {
    let (stride1, stride2) = strides(net, unit);
    let a = net.norm("bn1", x)?;
    let a = net.relu("relu1", a)?;
    let y = net.conv("conv1", a, 1, unit.middle, stride1)?;
    let y = net.norm("bn2", y)?;
    let y = net.relu("relu2", y)?;
    let y = net.grouped_conv("conv2", y, 3, unit.middle, stride2, net.spec.groups)?;
    let y = net.norm("bn3", y)?;
    let y = net.relu("relu3", y)?;
    let y = net.last_conv("conv3", y, 1, unit.out)?;
    let x = pre_activation_shortcut(net, x, a, unit)?;
    net.add(y, x)
}

/// Strides of the first 1×1 and of the 3×3.
fn strides(net: &Net<'_>, unit: &Unit) -> (usize, usize) {
    if net.spec.strides_first() { (unit.stride, 1) } else { (1, unit.stride) }
}
