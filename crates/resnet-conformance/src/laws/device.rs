//! What keeps a whole run on a device: batches out of pictures that lie there, and the loss scale.
//! A backend that offers neither refuses by name.

use proptest::prelude::*;
use resnet_core::op::{Gather, Ingest, LossScale, LossScaleState, Optimizer, Pick, StepScalars};
use resnet_core::{Backend, DType, Error, TensorDesc};

use super::{hold, text};
use crate::data::Data;
use crate::lab::Lab;
use crate::strategy::seed;

/// [`Backend::gather`] has the bits of [`Backend::ingest`] for the bytes that the specification names, whatever is picked:
/// windows beside the picture, mirrored ones, and numbers that are no picture.
pub fn gather_is_ingest_of_the_windows<B: Backend>(make: impl Fn() -> B) {
    let mut backend = make();
    let dtypes = [DType::F32, DType::Bf16, DType::F16].map(|dtype| (dtype, backend.supports(dtype)));
    let extents = (1..=5usize, 1..=9usize, 1..=9usize, 1..=4usize);
    hold(
        "gather is ingest of the windows",
        (extents, 1..=7usize, 0..=3usize, seed()),
        |&(extents, count, padding, seed)| {
            let ((n, h, w, c), data) = (extents, &mut Data::new(seed));
            let all: Vec<u8> = (0..count * h * w * c).map(|_| data.below(256) as u8).collect();
            let affine = data.affine(c);
            let picks: Vec<Pick> = (0..n).map(|_| pick(data, count, padding)).collect();
            let bytes: Vec<u8> =
                picks.iter().flat_map(|pick| window(&all, (h, w, c), count, padding, pick)).collect();
            for dtype in dtypes.iter().filter_map(|&(dtype, supported)| supported.then_some(dtype)) {
                let ingest = Ingest::new(n, h, w, c, dtype).map_err(text)?;
                let op = Gather::new(count, padding, ingest).map_err(text)?;
                let pictures = backend.put_u8(op.pictures_desc(), &all).map_err(text)?;
                let numbers: Vec<u32> = picks.iter().flat_map(|pick| pick.to_array()).collect();
                let picks = backend.put_labels(&numbers).map_err(text)?;
                let affine = backend.put(TensorDesc::affine(c), &affine).map_err(text)?;
                let mut got = backend.poisoned(ingest.x_desc()).map_err(text)?;
                let answer = backend.gather(&op, &pictures, &picks, &affine, &mut got);
                if backend.room_for_pictures() == 0 {
                    return match answer {
                        Err(Error::Unsupported { .. }) => Ok(()),
                        answer => {
                            Err(format!("without room for pictures {answer:?}; a refusal by name was wanted"))
                        }
                    };
                }
                answer.map_err(text)?;
                let pixels = backend.put_u8(ingest.pixels_desc(), &bytes).map_err(text)?;
                let mut wanted = backend.poisoned(ingest.x_desc()).map_err(text)?;
                backend.ingest(&ingest, &pixels, &affine, &mut wanted).map_err(text)?;
                let got = backend.get(ingest.x_desc(), &got).map_err(text)?;
                let wanted = backend.get(ingest.x_desc(), &wanted).map_err(text)?;
                if let Some(i) = (0..got.len()).find(|&i| got[i].to_bits() != wanted[i].to_bits()) {
                    return Err(format!("{dtype:?}, element {i}: {} in place of {}", got[i], wanted[i]));
                }
            }
            Ok(())
        },
    );
}

fn pick(data: &mut Data, count: usize, padding: usize) -> Pick {
    let index = if data.below(8) == 0 { u32::MAX - data.below(3) as u32 } else { data.below(count) as u32 };
    // Now and then far beside the picture: nothing there may be read.
    let mut offset = || match data.below(9) {
        0 => u32::MAX - data.below(1000) as u32,
        1 => 1_000_000,
        _ => data.below(2 * padding + 1) as u32,
    };
    let (top, left) = (offset(), offset());
    Pick { index, top, left, mirrored: data.below(2) == 1 }
}

/// What [`Gather`] says a pick is, in plain loops.
fn window(
    all: &[u8],
    (h, w, c): (usize, usize, usize),
    count: usize,
    padding: usize,
    pick: &Pick,
) -> Vec<u8> {
    let mut out = vec![0; h * w * c];
    if pick.index as usize >= count {
        return out;
    }
    let inside = |at: usize, offset: u32, extent: usize| {
        // Offsets are u32 on the device, where sums wrap around.
        let at = (at as u32).wrapping_add(offset).wrapping_sub(padding as u32) as usize;
        (at < extent).then_some(at)
    };
    for y in 0..h {
        for x in 0..w {
            let from_x = if pick.mirrored { w - 1 - x } else { x };
            let from = inside(y, pick.top, h).zip(inside(from_x, pick.left, w));
            if let Some((row, column)) = from {
                let at = ((pick.index as usize * h + row) * w + column) * c;
                out[(y * w + x) * c..][..c].copy_from_slice(&all[at..at + c]);
            }
        }
    }
    out
}

/// [`Backend::scale_loss`] and [`Backend::adapt_loss_scale`] follow [`LossScale`] to the bit, step after step: the scale, and the bias
/// corrections of the steps that were not left out.
pub fn loss_scale_follows_its_rule<B: Backend>(make: impl Fn() -> B) {
    let mut backend = make();
    let norms = prop::collection::vec(
        prop_oneof![4 => Just(1.5f32), 1 => Just(f32::INFINITY), 1 => Just(f32::NAN), 1 => Just(f32::NEG_INFINITY)],
        1..12,
    );
    let optimizers = [
        Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 },
        Optimizer::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 },
        Optimizer::AdamW { beta1: 0.0, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 },
    ];
    let given = (norms, 1..4u32, 0..=120i32, (0..3usize, 1..5000u64));
    hold("the loss scale follows its rule", given, |(norms, interval, exponent, (optimizer, start))| {
        let optimizer = optimizers[*optimizer];
        let rule = LossScale { interval: *interval, ..LossScale::default() };
        let first = LossScaleState { scale: 2f32.powi(*exponent + 7), ..LossScaleState::default() };
        let mut wanted = first;
        let mut state = backend.put(LossScale::desc(), &first.to_array()).map_err(text)?;
        for (t, &value) in (*start..).zip(norms) {
            let given = StepScalars { grad_scale: 0.5, ..StepScalars::of_step(&optimizer, t) };
            let mut scalars = backend.put(StepScalars::desc(), &given.to_array()).map_err(text)?;
            let norm = backend.put(TensorDesc::table(1, 1), &[value]).map_err(text)?;
            match backend.scale_loss(&optimizer, &state, &mut scalars) {
                Err(Error::Unsupported { .. }) => return Ok(()),
                answer => answer.map_err(text)?,
            }
            let got = backend.get(StepScalars::desc(), &scalars).map_err(text)?;
            let scaled = wanted.scaled(&optimizer, given);
            if got != scaled.to_array() {
                return Err(format!("scalars {got:?}; {scaled:?} wanted"));
            }
            backend.adapt_loss_scale(&rule, &norm, &mut state).map_err(text)?;
            wanted = rule.after(wanted, value);
            let got = backend.get(LossScale::desc(), &state).map_err(text)?;
            if got != wanted.to_array() {
                return Err(format!("after a norm of {value}: {got:?}; {wanted:?} wanted"));
            }
        }
        Ok(())
    });
}
