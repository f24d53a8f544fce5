//! Per-channel sums: what a tile leaves behind, and how tiles are merged.
//!
//! A [`Role::Sums`](resnet_core::Role::Sums) buffer over `c` channels holds two rows of `c` f64.
//! After a forward op: the mean, and the sum of squared deviations from it. After a backward op: `Σ g`, and `Σ g·(y − mean)`.
//! Tiles are merged in their order, so the result does not depend on threads.

use resnet_core::TensorDesc;

/// Merges the means and squared deviations of tiles of `tile_rows` rows, the last one perhaps shorter, into `sums`.
///
/// `tile_stride` numbers lie between the partial sums of two tiles.
///
/// Source: Chan, Golub & LeVeque, *Updating Formulae and a Pairwise Algorithm for Computing Sample Variances*, 1979, eq. 2.1.
pub(crate) fn merge_moments(
    partials: &[f64],
    tile_stride: usize,
    rows: usize,
    tile_rows: usize,
    sums: &mut [f64],
) {
    let n_tiles = partials.len() / tile_stride;
    let rows = (0..n_tiles).map(|i| tile_rows.min(rows - i * tile_rows));
    merge_moments_of(partials, tile_stride, rows, sums);
}

/// Merges the means and squared deviations of tiles of any number of rows.
pub(crate) fn merge_moments_of(
    partials: &[f64],
    tile_stride: usize,
    rows: impl Iterator<Item = usize>,
    sums: &mut [f64],
) {
    let c = sums.len() / 2;
    let (mean, m2) = sums.split_at_mut(c);
    mean.fill(0.0);
    m2.fill(0.0);
    let mut seen = 0;
    for (tile, here) in partials.chunks_exact(tile_stride).zip(rows) {
        let total = (seen + here) as f64;
        let (share, weight) = (here as f64 / total, seen as f64 * here as f64 / total);
        let (tile_mean, tile_m2) = tile[..2 * c].split_at(c);
        for i in 0..c {
            let delta = tile_mean[i] - mean[i];
            mean[i] += delta * share;
            m2[i] += tile_m2[i] + delta * delta * weight;
        }
        seen += here;
    }
}

/// Adds the `sums.len()` numbers that each tile left at `offset` of its `tile_stride` numbers.
pub(crate) fn merge_sums(partials: &[f64], tile_stride: usize, offset: usize, sums: &mut [f64]) {
    sums.fill(0.0);
    for tile in partials.chunks_exact(tile_stride) {
        for (s, t) in sums.iter_mut().zip(&tile[offset..]) {
            *s += t;
        }
    }
}

/// Adds up the gradient of a bias from what chunks of the batch left, `stride` numbers each, in their order.
pub(crate) fn merge_bias(partials: &[f64], stride: usize, dbias: &mut [f32], add: bool) {
    for (i, d) in dbias.iter_mut().enumerate() {
        let sum: f64 = partials.chunks_exact(stride).map(|chunk| chunk[i]).sum();
        *d = (sum + if add { f64::from(*d) } else { 0.0 }) as f32;
    }
}

/// How many f64 a sums buffer over `c` channels holds.
pub(crate) fn len(desc: &TensorDesc) -> usize {
    2 * desc.c
}
