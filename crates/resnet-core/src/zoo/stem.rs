//! The layers before the first block.

use super::build::Net;
use super::{Stem, Variant};
use crate::{NodeId, Result};

/// Builds the stem. A v2 net leaves its last convolution bare: the first block starts with a normalisation.
pub(super) fn stem(net: &mut Net<'_>, picture: NodeId) -> Result<NodeId> {
    let width = net.spec.stem_width;
    let mut x = match net.spec.stem {
        Stem::Imagenet => last_conv(net, "conv1", picture, 7, 2)?,
        Stem::Small => last_conv(net, "conv1", picture, 3, 1)?,
        Stem::Deep => deep(net, picture, width / 2, width / 2)?,
        Stem::Tiered => deep(net, picture, 3 * width / 8, width / 2)?,
    };
    if net.spec.variant != Variant::V2 {
        x = net.norm("bn1", x)?;
        x = net.relu("relu1", x)?;
    }
    match net.spec.stem {
        Stem::Imagenet | Stem::Deep | Stem::Tiered => net.stem_pool("maxpool", x),
        Stem::Small => Ok(x),
    }
}

/// Three 3×3 in place of the 7×7, named as the members of a sequence: 0, 3 and 6 convolve.
fn deep(net: &mut Net<'_>, picture: NodeId, first: usize, second: usize) -> Result<NodeId> {
    let x = net.conv("conv1.0", picture, 3, first, 2)?;
    let x = net.norm("conv1.1", x)?;
    let x = net.relu("conv1.2", x)?;
    let x = net.conv("conv1.3", x, 3, second, 1)?;
    let x = net.norm("conv1.4", x)?;
    let x = net.relu("conv1.5", x)?;
    last_conv(net, "conv1.6", x, 3, 1)
}

/// The convolution whose output is the stem's, normalised unless the net is v2.
fn last_conv(net: &mut Net<'_>, name: &str, x: NodeId, k: usize, stride: usize) -> Result<NodeId> {
    let width = net.spec.stem_width;
    match net.spec.variant {
        Variant::V2 => net.bare_conv(name, x, k, width, stride),
        _ => net.conv(name, x, k, width, stride),
    }
}
