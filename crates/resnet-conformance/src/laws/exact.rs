//! Laws that need no oracle.
//!
//! They run on quarters between −2 and 2. Products are sixteenths, and sums of thousands of them stay far below 2²⁴ sixteenths,
//! so f32 makes no rounding error in any order and the laws hold to the bit.
//! Convolutions that a backend computes with fractions (see [`Arithmetic`]) are left to the derived bounds.
//! The exception is the average pool, whose division rounds; its tolerance is derived where it stands.

use resnet_core::op::{AvgPool, Combine, Conv2d, MaxPool, Op, Padding};
use resnet_core::{Accumulate, Arithmetic, Backend, DType, GradOut, GradSource, Result, Source, TensorDesc};

use super::{hold, text};
use crate::bound::gamma;
use crate::data::Data;
use crate::lab::Lab;
use crate::strategy::{seed, shapes};

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn same(what: &str, got: &[f32], wanted: &[f32]) -> std::result::Result<(), String> {
    match (0..wanted.len()).find(|&i| got[i] != wanted[i]) {
        None => Ok(()),
        Some(i) => Err(format!("{what}: element {i}: got {}, wanted exactly {}", got[i], wanted[i])),
    }
}

/// Whether a backend sums products of an op plainly, in all directions: only then is there nothing to round.
fn sums<B: Backend>(backend: &B, op: &Conv2d) -> bool {
    let plain = |op| backend.arithmetic(&op) == Arithmetic::Sums;
    plain(Op::Conv2d(*op)) && plain(Op::Conv2dBackwardData(*op)) && plain(Op::Conv2dBackwardWeight(*op))
}

/// The three directions of one convolution on host data.
fn conv_forward<B: Backend>(backend: &mut B, op: &Conv2d, x: &[f32], w: &[f32]) -> Result<Vec<f32>> {
    backend.prepare(&[Op::Conv2d(*op)])?;
    let (x, w) = (backend.put(op.x_desc(), x)?, backend.put(op.w_desc(), w)?);
    let mut y = backend.poisoned(op.y_desc())?;
    backend.conv2d(op, Source::raw(&x), &w, None, &mut y, None)?;
    backend.get(op.y_desc(), &y)
}

fn conv_data<B: Backend>(
    backend: &mut B,
    op: &Conv2d,
    dy: &[f32],
    w: &[f32],
    prior: Option<&[f32]>,
) -> Result<Vec<f32>> {
    backend.prepare(&[Op::Conv2dBackwardData(*op)])?;
    let (dy, w) = (backend.put(op.y_desc(), dy)?, backend.put(op.w_desc(), w)?);
    let (mut dx, accumulate) = start(backend, op.x_desc(), prior)?;
    let out = GradOut { accumulate, ..GradOut::set(&mut dx) };
    backend.conv2d_backward_data(op, GradSource::raw(&dy), &w, out)?;
    backend.get(op.x_desc(), &dx)
}

fn conv_weight<B: Backend>(
    backend: &mut B,
    op: &Conv2d,
    x: &[f32],
    dy: &[f32],
    prior: Option<&[f32]>,
) -> Result<Vec<f32>> {
    backend.prepare(&[Op::Conv2dBackwardWeight(*op)])?;
    let (x, dy) = (backend.put(op.x_desc(), x)?, backend.put(op.y_desc(), dy)?);
    let (mut dw, accumulate) = start(backend, op.w_desc(), prior)?;
    backend.conv2d_backward_weight(op, Source::raw(&x), GradSource::raw(&dy), &mut dw, None, accumulate)?;
    backend.get(op.w_desc(), &dw)
}

/// A gradient buffer to set, or to add to.
fn start<B: Backend>(
    backend: &mut B,
    desc: TensorDesc,
    prior: Option<&[f32]>,
) -> Result<(B::Buffer, Accumulate)> {
    Ok(match prior {
        None => (backend.poisoned(desc)?, Accumulate::Set),
        Some(prior) => (backend.put(desc, prior)?, Accumulate::Add),
    })
}

/// `⟨conv(x, w), dy⟩ = ⟨x, backward_data(dy, w)⟩ = ⟨w, backward_weight(x, dy)⟩`.
pub fn conv2d_directions_are_adjoint<B: Backend>(make: impl Fn() -> B) {
    let mut backend = make();
    hold(
        "the three directions of a convolution are adjoint",
        (shapes::conv2d(DType::F32), seed()),
        |(op, seed)| {
            if !sums(&backend, op) {
                return Ok(());
            }
            let data = &mut Data::new(*seed);
            let (x, w) = (data.quarters(op.x_desc().len()), data.quarters(op.w_desc().len()));
            let dy = data.quarters(op.y_desc().len());
            let forward = dot(&conv_forward(&mut backend, op, &x, &w).map_err(text)?, &dy);
            let data_side = dot(&conv_data(&mut backend, op, &dy, &w, None).map_err(text)?, &x);
            let weight_side = dot(&conv_weight(&mut backend, op, &x, &dy, None).map_err(text)?, &w);
            if forward != data_side || forward != weight_side {
                return Err(format!(
                    "forward {forward}, backward data {data_side}, backward weight {weight_side}"
                ));
            }
            Ok(())
        },
    );
}

/// A convolution in groups is one convolution per group, side by side.
pub fn grouped_is_one_per_group<B: Backend>(make: impl Fn() -> B) {
    let mut backend = make();
    hold(
        "a grouped convolution is one per group",
        (shapes::conv2d(DType::F32), 1..=4usize, seed()),
        |(one, groups, seed)| {
            let data = &mut Data::new(*seed);
            let pad = one.padding();
            let shape = (one.n(), one.h(), one.w(), one.c() / one.groups());
            let (k, window) = (one.k() / one.groups(), (one.r(), one.s()));
            let conv = |groups| {
                let x = (shape.0, shape.1, shape.2, shape.3 * groups);
                Conv2d::new(x, k * groups, window, one.stride(), pad, groups, DType::F32).map_err(text)
            };
            let (one, all) = (conv(1)?, conv(*groups)?);
            if !sums(&backend, &one) || !sums(&backend, &all) {
                return Ok(());
            }
            let x = data.quarters(all.x_desc().len());
            let w = data.quarters(all.w_desc().len());
            let dy = data.quarters(all.y_desc().len());
            let y = conv_forward(&mut backend, &all, &x, &w).map_err(text)?;
            let dx = conv_data(&mut backend, &all, &dy, &w, None).map_err(text)?;
            let dw = conv_weight(&mut backend, &all, &x, &dy, None).map_err(text)?;
            for group in 0..*groups {
                // Channels of one group out of channels-last data; kernels of one group are one block.
                let part = |values: &[f32], c: usize| -> Vec<f32> {
                    values.chunks(c * groups).flat_map(|pixel| &pixel[group * c..][..c]).copied().collect()
                };
                let block = one.w_desc().len();
                let (x, dy) = (part(&x, one.c()), part(&dy, one.k()));
                let w = &w[group * block..][..block];
                let name = |what: &str| format!("{what} of group {group} of {groups}");
                same(
                    &name("y"),
                    &part(&y, one.k()),
                    &conv_forward(&mut backend, &one, &x, w).map_err(text)?,
                )?;
                same(
                    &name("dx"),
                    &part(&dx, one.c()),
                    &conv_data(&mut backend, &one, &dy, w, None).map_err(text)?,
                )?;
                let dw_one = conv_weight(&mut backend, &one, &x, &dy, None).map_err(text)?;
                same(&name("dw"), &dw[group * block..][..block], &dw_one)?;
            }
            Ok(())
        },
    );
}

/// Adding to a gradient is setting it and adding what was there.
pub fn add_is_set_then_add<B: Backend>(make: impl Fn() -> B) {
    let mut backend = make();
    hold(
        "add is set then add",
        (shapes::conv2d(DType::F32), shapes::max_pool(DType::F32), seed()),
        |(conv, pool, seed)| {
            let data = &mut Data::new(*seed);
            if !sums(&backend, conv) {
                return Ok(());
            }
            let plus =
                |set: &[f32], prior: &[f32]| set.iter().zip(prior).map(|(a, b)| a + b).collect::<Vec<_>>();

            let (x, w) = (data.quarters(conv.x_desc().len()), data.quarters(conv.w_desc().len()));
            let dy = data.quarters(conv.y_desc().len());
            let prior = data.quarters(x.len());
            let set = conv_data(&mut backend, conv, &dy, &w, None).map_err(text)?;
            let added = conv_data(&mut backend, conv, &dy, &w, Some(&prior)).map_err(text)?;
            same("conv2d_backward_data", &added, &plus(&set, &prior))?;

            let prior = data.quarters(w.len());
            let set = conv_weight(&mut backend, conv, &x, &dy, None).map_err(text)?;
            let added = conv_weight(&mut backend, conv, &x, &dy, Some(&prior)).map_err(text)?;
            same("conv2d_backward_weight", &added, &plus(&set, &prior))?;

            let x = data.quarters(pool.x_desc().len());
            let dy = data.quarters(pool.y_desc().len());
            let prior = data.quarters(x.len());
            let (_, set) = max_pool(&mut backend, pool, &x, &dy, None).map_err(text)?;
            let (_, added) = max_pool(&mut backend, pool, &x, &dy, Some(&prior)).map_err(text)?;
            same("max_pool_backward", &added, &plus(&set, &prior))?;

            let d = conv.x_desc();
            let op = Combine::new(d.n, d.h, d.w, d.c, DType::F32).map_err(text)?;
            let (dz, prior) = (data.quarters(d.len()), data.quarters(d.len()));
            let added = combine(&mut backend, &op, &dz, &prior).map_err(text)?;
            same("combine_backward", &added, &plus(&dz, &prior))
        },
    );
}

fn combine<B: Backend>(backend: &mut B, op: &Combine, dz: &[f32], prior: &[f32]) -> Result<Vec<f32>> {
    backend.prepare(&[Op::CombineBackward(*op)])?;
    let dz = backend.put(op.desc(), dz)?;
    let mut dx = backend.put(op.desc(), prior)?;
    let out = GradOut { accumulate: Accumulate::Add, ..GradOut::set(&mut dx) };
    backend.combine_backward(op, GradSource::raw(&dz), out)?;
    backend.get(op.desc(), &dx)
}

/// `y` and `dx` of a max-pool.
fn max_pool<B: Backend>(
    backend: &mut B,
    op: &MaxPool,
    x: &[f32],
    dy: &[f32],
    prior: Option<&[f32]>,
) -> Result<(Vec<f32>, Vec<f32>)> {
    backend.prepare(&[Op::MaxPool(*op)])?;
    let (x, dy) = (backend.put(op.x_desc(), x)?, backend.put(op.y_desc(), dy)?);
    let (mut y, mut index) = (backend.poisoned(op.y_desc())?, backend.poisoned(op.index_desc())?);
    backend.max_pool(op, Source::raw(&x), &mut y, Some(&mut index), None)?;
    let (mut dx, accumulate) = start(backend, op.x_desc(), prior)?;
    let out = GradOut { accumulate, ..GradOut::set(&mut dx) };
    backend.max_pool_backward(op, GradSource::raw(&dy), &index, out)?;
    Ok((backend.get(op.y_desc(), &y)?, backend.get(op.x_desc(), &dx)?))
}

/// `y` and `dx` of an average pool.
fn avg_pool<B: Backend>(
    backend: &mut B,
    op: &AvgPool,
    x: &[f32],
    dy: &[f32],
) -> Result<(Vec<f32>, Vec<f32>)> {
    backend.prepare(&[Op::AvgPool(*op)])?;
    let (x, dy) = (backend.put(op.x_desc(), x)?, backend.put(op.y_desc(), dy)?);
    let (mut y, mut dx) = (backend.poisoned(op.y_desc())?, backend.poisoned(op.x_desc())?);
    backend.avg_pool(op, Source::raw(&x), &mut y)?;
    backend.avg_pool_backward(op, GradSource::raw(&dy), GradOut::set(&mut dx))?;
    Ok((backend.get(op.y_desc(), &y)?, backend.get(op.x_desc(), &dx)?))
}

/// `⟨pool(x), dy⟩ = ⟨x, backward(dy)⟩`, for both pools.
///
/// A max-pool chooses, so this holds at the point where its winners were taken; a padding zero that wins adds nothing to either side.
/// A mean of `t` pixels errs by at most `γₜ₊₂` relative to the mean of magnitudes (`t − 1` additions and a division that may be a
/// product with a rounded reciprocal), and the gradient, a sum of at most `t` shares, by as much.
/// So the two sides differ by at most `2·γₜ₊₂ · Σ|dy|·max|x|`.
pub fn pools_are_adjoint<B: Backend>(make: impl Fn() -> B) {
    let mut backend = make();
    hold(
        "pools are adjoint",
        (shapes::max_pool(DType::F32), shapes::avg_pool(DType::F32), seed()),
        |(max, avg, seed)| {
            let data = &mut Data::new(*seed);
            let (x, dy) = (data.distinct(max.x_desc().len()), data.quarters(max.y_desc().len()));
            let (y, dx) = max_pool(&mut backend, max, &x, &dy, None).map_err(text)?;
            let (forward, backward) = (dot(&y, &dy), dot(&x, &dx));
            if forward != backward {
                return Err(format!("max-pool: forward {forward}, backward {backward}"));
            }

            let (x, dy) = (data.quarters(avg.x_desc().len()), data.quarters(avg.y_desc().len()));
            let (y, dx) = avg_pool(&mut backend, avg, &x, &dy).map_err(text)?;
            let (forward, backward) = (dot(&y, &dy), dot(&x, &dx));
            let magnitude: f64 = dy.iter().map(|&d| f64::from(d.abs())).sum::<f64>() * 2.0;
            let tolerance = 2.0 * gamma(avg.r() * avg.s() + 2) * magnitude;
            if (forward - backward).abs() > tolerance {
                return Err(format!(
                    "average pool: forward {forward}, backward {backward}, tolerance {tolerance:e}"
                ));
            }
            Ok(())
        },
    );
}

/// Shifting an image inside its padding shifts nothing else: a window of zeros padded by the op and by hand gives the same.
pub fn padding_is_zeros_around_the_image<B: Backend>(make: impl Fn() -> B) {
    let mut backend = make();
    hold("padding is zeros around the image", (shapes::conv2d(DType::F32), seed()), |(op, seed)| {
        let data = &mut Data::new(*seed);
        let (x, w) = (data.quarters(op.x_desc().len()), data.quarters(op.w_desc().len()));
        let pad = op.padding();
        let (h, width) = (op.h() + pad.top + pad.bottom, op.w() + pad.left + pad.right);
        let mut padded = vec![0.0; op.n() * h * width * op.c()];
        let row = op.w() * op.c();
        for n in 0..op.n() {
            for at in 0..op.h() {
                let to = ((n * h + at + pad.top) * width + pad.left) * op.c();
                padded[to..to + row].copy_from_slice(&x[(n * op.h() + at) * row..][..row]);
            }
        }
        let (shape, window) = ((op.n(), h, width, op.c()), (op.r(), op.s()));
        let by_hand =
            Conv2d::new(shape, op.k(), window, op.stride(), Padding::default(), op.groups(), DType::F32)
                .map_err(text)?;
        if !sums(&backend, op) || !sums(&backend, &by_hand) {
            return Ok(());
        }
        let wanted = conv_forward(&mut backend, &by_hand, &padded, &w).map_err(text)?;
        same("y", &conv_forward(&mut backend, op, &x, &w).map_err(text)?, &wanted)
    });
}
