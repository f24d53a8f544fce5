//! The layers before the first block.

use super::build::Net;
use super::{Stem, Variant};
use crate::{NodeId, Result};

/// Builds the stem. A v2 net leaves its last convolution bare: the first block starts with a normalisation.
pub(super) fn stem(net: &mut Net<'_>, picture: NodeId) -> Result<NodeId> {
    let width = net.spec.stem_width;
    let mut x = match net.spec.stem {
        Stem::Imagenet => net.conv("conv1", picture, 7, width, 2)?,
        Stem::Small => net.conv("conv1", picture, 3, width, 1)?,
        Stem::Deep => deep(net, picture, width)?,
    };
    if net.spec.variant != Variant::V2 {
        x = net.norm("bn1", x)?;
        x = net.relu("relu1", x)?;
    }
    match net.spec.stem {
        Stem::Imagenet | Stem::Deep => net.max_pool("maxpool", x, 3, 2),
        Stem::Small => Ok(x),
    }
}

/// Three 3×3 in place of the 7×7, named as the members of a sequence: 0, 3 and 6 convolve.
fn deep(net: &mut Net<'_>, picture: NodeId, width: usize) -> Result<NodeId> {
    let x = net.conv("conv1.0", picture, 3, width / 2, 2)?;
    let x = net.norm("conv1.1", x)?;
    let x = net.relu("conv1.2", x)?;
    let x = net.conv("conv1.3", x, 3, width / 2, 1)?;
    let x = net.norm("conv1.4", x)?;
    let x = net.relu("conv1.5", x)?;
    net.conv("conv1.6", x, 3, width, 1)
}
