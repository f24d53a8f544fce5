//! Pictures as bytes to normalised activations.

use resnet_core::op::Ingest;
use resnet_core::{Result, TensorDesc};

use crate::buffer::{Buffer, check};
use crate::element::Element;
use crate::engine::Engine;
use crate::window::{pass_tile_rows, segments};

/// `x = scale[c]·byte + shift[c]`, picture-major bytes to pixel-major values.
pub(crate) fn ingest<E: Element>(
    engine: &mut Engine,
    op: &Ingest,
    pixels: &Buffer,
    affine: &Buffer,
    x: &mut Buffer,
) -> Result<()> {
    const OP: &str = "ingest";
    let (x_desc, pixels_desc) = (op.x_desc(), op.pixels_desc());
    let c = x_desc.c;
    check(OP, "pixels", pixels, &pixels_desc)?;
    check(OP, "affine", affine, &TensorDesc::affine(c))?;
    check(OP, "x", x, &x_desc)?;
    let (scale, shift) = affine.f32(2 * c).split_at(c);
    let pixels = pixels.u8(pixels_desc.len());
    let (n, picture_len) = (x_desc.n, x_desc.h * x_desc.w * c);
    engine.threads.for_tiles(
        &mut engine.partials,
        x.elements_mut::<E>(x_desc.len()),
        (c, pass_tile_rows(c), 1),
        |tile, _| {
            for s in segments(tile.first_row..tile.first_row + tile.out.len() / c, n) {
                let out = tile.out[s.at.start * c..s.at.end * c].chunks_exact_mut(c);
                for (out, picture) in out.zip(s.pictures) {
                    let bytes = &pixels[picture * picture_len + s.pixel * c..][..c];
                    for i in 0..c {
                        out[i] = E::narrow(scale[i] * f32::from(bytes[i]) + shift[i]);
                    }
                }
            }
        },
    );
    Ok(())
}
