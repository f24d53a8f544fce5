//! What an op does to memory: the same bits every time, no more than it describes, nothing at all where a buffer is too short.

use proptest::prelude::*;
use resnet_core::{Backend, DType, Error, HostData, Source};

use super::probe::{Arena, probes};
use super::{conv2d, elementwise, hold, loss, norm, pool, text, update};
use crate::data::Data;
use crate::lab::{Case, Lab};
use crate::strategy::{seed, shapes};

/// The same op on the same values gives the same bits: on one backend twice, and on two that are made alike.
pub fn repeat_is_bit_equal<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    same_bits(make(), make(), dtype);
}

/// Two backends give the same bits. For configurations that must not change a result, such as the number of threads.
pub fn same_bits<B: Backend>(mut a: B, mut b: B, dtype: DType) {
    let both = &mut (&mut a, &mut b);
    same_bits_of(both, conv2d::forward(dtype));
    same_bits_of(both, conv2d::finished(dtype));
    same_bits_of(both, conv2d::backward_data(dtype));
    same_bits_of(both, conv2d::backward_weight(dtype));
    same_bits_of(both, elementwise::forward(dtype));
    same_bits_of(both, elementwise::backward(dtype));
    same_bits_of(both, elementwise::pictures(dtype));
    same_bits_of(both, pool::max(dtype));
    same_bits_of(both, pool::max_backward(dtype));
    same_bits_of(both, pool::avg(dtype));
    same_bits_of(both, pool::avg_backward(dtype));
    same_bits_of(both, norm::finish());
    same_bits_of(both, norm::frozen());
    same_bits_of(both, norm::backward());
    same_bits_of(both, loss::loss(dtype));
    same_bits_of(both, update::grad_norm());
    same_bits_of(both, update::sgd());
    same_bits_of(both, update::adam());
    same_bits_of(both, update::adamw());
}

fn same_bits_of<B: Backend, C: Case>((a, b): &mut (&mut B, &mut B), cases: impl Strategy<Value = C>) {
    hold("the same call gives the same bits", cases, |case| {
        let first = bits(*a, case)?;
        for again in [bits(*a, case)?, bits(*b, case)?] {
            for ((name, wanted), (_, got)) in first.iter().zip(&again) {
                if let Some(i) = (0..wanted.len()).find(|&i| wanted[i] != got[i]) {
                    let (wanted, got) = (f32::from_bits(wanted[i]), f32::from_bits(got[i]));
                    return Err(format!("{}: `{name}`, element {i}: {wanted:e}, then {got:e}", case.op()));
                }
            }
        }
        Ok(())
    });
}

type Bits = Vec<(&'static str, Vec<u32>)>;

fn bits<B: Backend>(backend: &mut B, case: &impl Case) -> Result<Bits, String> {
    let mut all = Vec::new();
    for output in case.run(backend).map_err(text)? {
        let values = backend.get(output.desc, &output.buffer).map_err(text)?;
        all.push((output.name, values.into_iter().map(f32::to_bits).collect()));
    }
    Ok(all)
}

/// A buffer may hold one tensor after another, of any shapes: results are those of fresh buffers.
pub fn buffers_can_be_reused<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    let mut backend = make();
    let ops = prop::collection::vec(shapes::conv2d(dtype), 2..=4);
    hold("a buffer may hold one tensor after another", (ops, seed()), |(ops, seed)| {
        let data = &mut Data::new(*seed);
        let mut most = |desc: fn(&resnet_core::op::Conv2d) -> resnet_core::TensorDesc| {
            let bytes = ops.iter().map(|op| backend.buffer_bytes(&desc(op))).max().unwrap_or(0);
            backend.alloc(bytes).map_err(text)
        };
        let (mut x, mut w, mut y) =
            (most(|op| op.x_desc())?, most(|op| op.w_desc())?, most(|op| op.y_desc())?);
        for op in ops {
            backend.prepare(&[resnet_core::op::Op::Conv2d(*op)]).map_err(text)?;
            let (xs, ws) = (data.values(op.x_desc().len()), data.values(op.w_desc().len()));
            backend.upload(&op.x_desc(), HostData::F32(&xs), &mut x).map_err(text)?;
            backend.upload(&op.w_desc(), HostData::F32(&ws), &mut w).map_err(text)?;
            backend.conv2d(op, Source::raw(&x), &w, None, &mut y, None).map_err(text)?;
            let got = backend.get(op.y_desc(), &y).map_err(text)?;

            let (x, w) =
                (backend.put(op.x_desc(), &xs).map_err(text)?, backend.put(op.w_desc(), &ws).map_err(text)?);
            let mut y = backend.poisoned(op.y_desc()).map_err(text)?;
            backend.conv2d(op, Source::raw(&x), &w, None, &mut y, None).map_err(text)?;
            let wanted = backend.get(op.y_desc(), &y).map_err(text)?;
            if let Some(i) = (0..got.len()).find(|&i| got[i].to_bits() != wanted[i].to_bits()) {
                return Err(format!(
                    "{op:?}: element {i}: {} in a used buffer, {} in a fresh one",
                    got[i], wanted[i]
                ));
            }
        }
        Ok(())
    });
}

/// Each argument of each op in turn is too short: the op is refused with [`Error::Length`], and no output has changed.
pub fn short_buffers_are_refused<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    let backend = &mut make();
    for probe in probes::<B>() {
        let (result, arena) = probe.run(backend, dtype, None, 0);
        if let Err(error) = result {
            panic!("{}: with buffers of the right size: {error}", probe.name);
        }
        let n_args = arena.slots.len();
        for short in 0..n_args {
            // A single number cannot be cut to a quarter.
            if arena.slots[short].before.len() < 2 {
                continue;
            }
            let (result, arena) = probe.run(backend, dtype, Some(short), 0);
            let arg = arena.slots[short].arg;
            match result {
                Err(Error::Length { .. }) => {}
                Err(error) => {
                    panic!("{}: `{arg}` too short: wanted a length error, got: {error}", probe.name)
                }
                Ok(()) => panic!("{}: `{arg}` too short, and nothing was said", probe.name),
            }
            for slot in arena.slots.iter().filter(|slot| slot.written) {
                let before = &slot.before;
                if let Some(i) = changed(&arena.look(backend, slot), before, 0) {
                    panic!("{}: refused for `{arg}`, but `{}` had changed at {i}", probe.name, slot.arg);
                }
            }
        }
    }
}

/// Nothing behind a tensor is written, however much longer its buffer is.
pub fn nothing_behind_a_tensor_is_written<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    let backend = &mut make();
    for probe in probes::<B>() {
        let (result, arena) = probe.run(backend, dtype, None, 4096);
        if let Err(error) = result {
            panic!("{}: with longer buffers: {error}", probe.name);
        }
        for slot in &arena.slots {
            let all = slot.before.len();
            // The share of the buffer that the tensor takes, as a number of f32, rounded up.
            let own = (all * slot.needed).div_ceil(slot.bytes);
            assert!(own < all, "{}: `{}` leaves nothing behind it to look at", probe.name, slot.arg);
            if let Some(i) = changed(&arena.look(backend, slot), &slot.before, own) {
                panic!("{}: `{}` takes {own} numbers, but number {i} was written", probe.name, slot.arg);
            }
        }
    }
}

/// The first number from `from` on whose bits differ.
fn changed(now: &[f32], before: &[f32], from: usize) -> Option<usize> {
    (from..before.len()).find(|&i| now[i].to_bits() != before[i].to_bits())
}

/// An upload or download of another length or type than the tensor's is refused.
pub fn wrong_host_data_is_refused<B: Backend>(make: impl Fn() -> B, dtype: DType) {
    use resnet_core::{HostDataMut, TensorDesc};
    let backend = &mut make();
    let arena = &mut Arena::new(dtype, None, 0);
    let desc = TensorDesc::activation(dtype, 1, 2, 3, 4);
    let buffer = match arena.plain(backend, desc) {
        Ok(mut buffer) => {
            for (what, data) in [
                ("23 numbers", HostData::F32(&[0.0; 23])),
                ("25 numbers", HostData::F32(&[0.0; 25])),
                ("24 bytes", HostData::U8(&[0; 24])),
                ("24 labels", HostData::U32(&[0; 24])),
            ] {
                let result = backend.upload(&desc, data, &mut buffer);
                assert!(
                    matches!(result, Err(Error::Mismatch { .. })),
                    "upload of {what} to a tensor of 24 numbers gave {result:?}"
                );
            }
            buffer
        }
        Err(error) => panic!("{error}"),
    };
    for (what, data) in [
        ("23 numbers", HostDataMut::F32(&mut [0.0; 23])),
        ("24 bytes", HostDataMut::U8(&mut [0; 24])),
        ("24 labels", HostDataMut::U32(&mut [0; 24])),
    ] {
        let result = backend.download(&desc, &buffer, data);
        assert!(
            matches!(result, Err(Error::Mismatch { .. })),
            "download of {what} from a tensor of 24 numbers gave {result:?}"
        );
    }
}
