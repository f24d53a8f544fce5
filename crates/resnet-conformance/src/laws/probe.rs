//! One call of every op with every argument, each in a buffer of its own whose size can be chosen.

use resnet_core::op::{
    AvgPool, BatchNorm, Combine, Conv2d, Ingest, MaxPool, Metrics, Op, Optimizer, PadValue, Padding,
    SoftmaxCrossEntropy, StepScalars, Targets,
};
use resnet_core::{
    Accumulate, Backend, DType, Error, Finish, GradNorm, GradOut, GradSource, GradSums, HostData, Param,
    ParamKind, Residual, Result, Role, Running, Source, TensorDesc,
};

use crate::lab::Lab;

/// Channels of the tables: enough that a quarter of any buffer is much shorter than the whole.
const C: usize = 64;

/// Name of an argument, whether the op writes it, and what it holds.
type Arg = (&'static str, bool, TensorDesc);

/// A buffer of one argument, and what was in it before the call.
#[derive(Debug)]
pub(super) struct Slot<Buf> {
    pub(super) arg: &'static str,
    /// Whether the op writes it.
    pub(super) written: bool,
    pub(super) needed: usize,
    pub(super) bytes: usize,
    pub(super) before: Vec<f32>,
    buffer: Option<Buf>,
}

/// Hands out buffers: one of them may be too short, and all may be longer than needed.
#[derive(Debug)]
pub(super) struct Arena<Buf> {
    /// Of activations.
    dtype: DType,
    short: Option<usize>,
    extra: usize,
    pub(super) slots: Vec<Slot<Buf>>,
}

impl<Buf> Arena<Buf> {
    pub(super) fn new(dtype: DType, short: Option<usize>, extra: usize) -> Self {
        Self { dtype, short, extra, slots: Vec::new() }
    }

    /// A buffer that is no argument.
    pub(super) fn plain<B: Backend<Buffer = Buf>>(&self, backend: &mut B, desc: TensorDesc) -> Result<Buf> {
        let bytes = backend.buffer_bytes(&desc);
        backend.alloc(bytes)
    }

    /// The buffer of the next argument, filled with ones; labels and window positions with zeros.
    fn buffer<B: Backend<Buffer = Buf>>(
        &mut self,
        backend: &mut B,
        arg: &'static str,
        written: bool,
        desc: TensorDesc,
    ) -> Result<Buf> {
        let needed = backend.buffer_bytes(&desc);
        let is_short = self.short == Some(self.slots.len());
        let bytes = if is_short { needed / 4 } else { needed + self.extra };
        let mut buffer = backend.alloc(bytes)?;
        let all = backend.table_in(bytes);
        if let Some(all) = all {
            backend.upload(&all, HostData::F32(&vec![1.0; all.c]), &mut buffer)?;
        }
        match desc.role {
            _ if is_short => {}
            Role::Labels => backend.upload(&desc, HostData::U32(&vec![0; desc.len()]), &mut buffer)?,
            Role::Index => backend.upload(&desc, HostData::U8(&vec![0; desc.len()]), &mut buffer)?,
            _ => {}
        }
        let before = match all {
            Some(all) => backend.get(all, &buffer)?,
            None => Vec::new(),
        };
        self.slots.push(Slot { arg, written, needed, bytes, before, buffer: None });
        Ok(buffer)
    }

    /// The buffers of all arguments, in the order in which [`Arena::keep`] takes them back.
    fn buffers<const N: usize, B: Backend<Buffer = Buf>>(
        &mut self,
        backend: &mut B,
        args: [Arg; N],
    ) -> Result<[Buf; N]> {
        let mut buffers = Vec::new();
        for (arg, written, desc) in args {
            buffers.push(self.buffer(backend, arg, written, desc)?);
        }
        buffers.try_into().map_err(|_| Error::invalid("probe", "as many buffers as arguments"))
    }

    /// Takes the buffers back after the call.
    fn keep(&mut self, buffers: impl IntoIterator<Item = Buf>) {
        for (slot, buffer) in self.slots.iter_mut().zip(buffers) {
            slot.buffer = Some(buffer);
        }
    }

    /// All numbers that lie in the buffer of a slot now.
    pub(super) fn look<B: Backend<Buffer = Buf>>(&self, backend: &mut B, slot: &Slot<Buf>) -> Vec<f32> {
        match (&slot.buffer, backend.table_in(slot.bytes)) {
            (Some(buffer), Some(all)) => match backend.get(all, buffer) {
                Ok(values) => values,
                Err(error) => panic!("download of `{}`: {error}", slot.arg),
            },
            _ => Vec::new(),
        }
    }
}

/// One call with every argument.
pub(super) struct Probe<B: Backend> {
    /// The backend method.
    pub(super) name: &'static str,
    call: fn(&mut B, &mut Arena<B::Buffer>) -> Result<()>,
}

impl<B: Backend> Probe<B> {
    /// Makes the call, with argument number `short` too short, and `extra` bytes behind every other.
    pub(super) fn run(
        &self,
        backend: &mut B,
        dtype: DType,
        short: Option<usize>,
        extra: usize,
    ) -> (Result<()>, Arena<B::Buffer>) {
        let mut arena = Arena::new(dtype, short, extra);
        let result = (self.call)(backend, &mut arena);
        (result, arena)
    }
}

/// All ops.
pub(super) fn probes<B: Backend>() -> Vec<Probe<B>> {
    vec![
        Probe { name: "ingest", call: ingest },
        Probe { name: "conv2d", call: conv2d },
        Probe { name: "conv2d_finished", call: conv2d_finished },
        Probe { name: "conv2d_backward_data", call: conv2d_backward_data },
        Probe { name: "conv2d_backward_weight", call: conv2d_backward_weight },
        Probe { name: "combine", call: combine },
        Probe { name: "combine_backward", call: combine_backward },
        Probe { name: "max_pool", call: max_pool },
        Probe { name: "max_pool_backward", call: max_pool_backward },
        Probe { name: "avg_pool", call: avg_pool },
        Probe { name: "avg_pool_backward", call: avg_pool_backward },
        Probe { name: "norm_finish", call: norm_finish },
        Probe { name: "norm_frozen", call: norm_frozen },
        Probe { name: "norm_frozen_backward", call: norm_frozen_backward },
        Probe { name: "norm_backward_finish", call: norm_backward_finish },
        Probe { name: "softmax_cross_entropy", call: softmax_cross_entropy },
        Probe { name: "grad_norm", call: grad_norm },
        Probe { name: "update", call: update },
    ]
}

const IMAGE: (usize, usize, usize, usize) = (2, 6, 6, C);

fn conv_op(dtype: DType) -> Result<Conv2d> {
    Conv2d::new(IMAGE, C, (3, 3), 2, Padding::all(1), 1, dtype)
}

fn table(rows: usize) -> TensorDesc {
    TensorDesc::table(rows, C)
}

fn sums() -> TensorDesc {
    TensorDesc::sums(C)
}

/// Four buffers as a source with every part.
fn source<'a, Buf>([raw, affine, other, other_affine]: [&'a Buf; 4]) -> Source<'a, Buf> {
    let residual = Some(Residual { raw: other, affine: Some(other_affine) });
    Source { raw, affine: Some(affine), residual, relu: true }
}

/// The arguments of [`source`].
fn source_args(desc: TensorDesc) -> [Arg; 4] {
    [
        ("source.raw", false, desc),
        ("source.affine", false, table(2)),
        ("residual.raw", false, desc),
        ("residual.affine", false, table(2)),
    ]
}

/// The arguments of a gradient source with a normalisation.
fn grad_args(desc: TensorDesc) -> [Arg; 3] {
    [("dy.dz", false, desc), ("dy.norm.coeffs", false, table(3)), ("dy.norm.y", false, desc)]
}

fn grad<'a, Buf>([dz, coeffs, y]: [&'a Buf; 3]) -> GradSource<'a, Buf> {
    GradSource { dz, norm: Some(GradNorm { coeffs, y }) }
}

/// A gradient output with every part.
struct Out<Buf> {
    dx: Buf,
    add: Buf,
    mask: [Buf; 4],
    norms: [(Buf, Buf, Buf); 2],
}

impl<Buf> Out<Buf> {
    fn args(desc: TensorDesc) -> [Arg; 12] {
        let [raw, affine, other, other_affine] = source_args(desc);
        [
            ("dx", true, desc),
            ("dx.add", false, desc),
            raw,
            affine,
            other,
            other_affine,
            ("dx.sums[0].y", false, desc),
            ("dx.sums[0].moments", false, table(2)),
            ("dx.sums[0].sums", true, sums()),
            ("dx.sums[1].y", false, desc),
            ("dx.sums[1].moments", false, table(2)),
            ("dx.sums[1].sums", true, sums()),
        ]
    }

    fn new([dx, add, m0, m1, m2, m3, y0, moments0, sums0, y1, moments1, sums1]: [Buf; 12]) -> Self {
        Self { dx, add, mask: [m0, m1, m2, m3], norms: [(y0, moments0, sums0), (y1, moments1, sums1)] }
    }

    fn get(&mut self) -> GradOut<'_, Buf> {
        let [first, second] = &mut self.norms;
        GradOut {
            dx: &mut self.dx,
            accumulate: Accumulate::Add,
            add: Some(&self.add),
            mask: Some(source(self.mask.each_ref())),
            sums: [
                Some(GradSums { y: &first.0, moments: &first.1, sums: &mut first.2 }),
                Some(GradSums { y: &second.0, moments: &second.1, sums: &mut second.2 }),
            ],
        }
    }

    fn into_buffers(self) -> [Buf; 12] {
        let [m0, m1, m2, m3] = self.mask;
        let [(y0, moments0, sums0), (y1, moments1, sums1)] = self.norms;
        [self.dx, self.add, m0, m1, m2, m3, y0, moments0, sums0, y1, moments1, sums1]
    }
}

fn ingest<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = Ingest::new(IMAGE.0, IMAGE.1, IMAGE.2, C, arena.dtype)?;
    backend.prepare(&[Op::Ingest(op)])?;
    let args = [("pixels", false, op.pixels_desc()), ("affine", false, table(2)), ("x", true, op.x_desc())];
    let [pixels, affine, mut x] = arena.buffers(backend, args)?;
    let result = backend.ingest(&op, &pixels, &affine, &mut x);
    arena.keep([pixels, affine, x]);
    result
}

fn conv2d<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = conv_op(arena.dtype)?;
    backend.prepare(&[Op::Conv2d(op)])?;
    let x = arena.buffers(backend, source_args(op.x_desc()))?;
    let args = [
        ("w", false, op.w_desc()),
        ("bias", false, op.bias_desc()),
        ("y", true, op.y_desc()),
        ("sums", true, sums()),
    ];
    let [w, bias, mut y, mut sums] = arena.buffers(backend, args)?;
    let result = backend.conv2d(&op, source(x.each_ref()), &w, Some(&bias), &mut y, Some(&mut sums));
    arena.keep(x.into_iter().chain([w, bias, y, sums]));
    result
}

fn conv2d_finished<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = conv_op(arena.dtype)?;
    if !backend.finishes(&op) {
        return Ok(()); // it is not asked for this, and has no buffers to check
    }
    backend.prepare(&[Op::Conv2d(op)])?;
    let x = arena.buffers(backend, source_args(op.x_desc()))?;
    let args = [
        ("w", false, op.w_desc()),
        ("bias", false, op.bias_desc()),
        ("finish.affine", false, table(2)),
        ("finish.residual.raw", false, op.y_desc()),
        ("finish.residual.affine", false, table(2)),
        ("y", true, op.y_desc()),
    ];
    let [w, bias, affine, other, other_affine, mut y] = arena.buffers(backend, args)?;
    let residual = Some(Residual { raw: &other, affine: Some(&other_affine) });
    let finish = Finish { affine: Some(&affine), residual, relu: true };
    let result = backend.conv2d_finished(&op, source(x.each_ref()), &w, Some(&bias), finish, &mut y);
    arena.keep(x.into_iter().chain([w, bias, affine, other, other_affine, y]));
    result
}

fn conv2d_backward_data<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = conv_op(arena.dtype)?;
    backend.prepare(&[Op::Conv2dBackwardData(op)])?;
    let dy = arena.buffers(backend, grad_args(op.y_desc()))?;
    let [w] = arena.buffers(backend, [("w", false, op.w_desc())])?;
    let mut out = Out::new(arena.buffers(backend, Out::<B::Buffer>::args(op.x_desc()))?);
    let result = backend.conv2d_backward_data(&op, grad(dy.each_ref()), &w, out.get());
    arena.keep(dy.into_iter().chain([w]).chain(out.into_buffers()));
    result
}

fn conv2d_backward_weight<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = conv_op(arena.dtype)?;
    backend.prepare(&[Op::Conv2dBackwardWeight(op)])?;
    let x = arena.buffers(backend, source_args(op.x_desc()))?;
    let dy = arena.buffers(backend, grad_args(op.y_desc()))?;
    let args = [("dw", true, op.w_desc()), ("dbias", true, op.bias_desc())];
    let [mut dw, mut dbias] = arena.buffers(backend, args)?;
    let (from_x, from_dy) = (source(x.each_ref()), grad(dy.each_ref()));
    let result =
        backend.conv2d_backward_weight(&op, from_x, from_dy, &mut dw, Some(&mut dbias), Accumulate::Add);
    arena.keep(x.into_iter().chain(dy).chain([dw, dbias]));
    result
}

fn combine_op(dtype: DType) -> Result<Combine> {
    Combine::new(IMAGE.0, IMAGE.1, IMAGE.2, C, dtype)
}

fn combine<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = combine_op(arena.dtype)?;
    backend.prepare(&[Op::Combine(op)])?;
    let x = arena.buffers(backend, source_args(op.desc()))?;
    let [mut z, mut sums] = arena.buffers(backend, [("z", true, op.desc()), ("sums", true, sums())])?;
    let result = backend.combine(&op, source(x.each_ref()), &mut z, Some(&mut sums));
    arena.keep(x.into_iter().chain([z, sums]));
    result
}

fn combine_backward<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = combine_op(arena.dtype)?;
    backend.prepare(&[Op::CombineBackward(op)])?;
    let dz = arena.buffers(backend, grad_args(op.desc()))?;
    let mut out = Out::new(arena.buffers(backend, Out::<B::Buffer>::args(op.desc()))?);
    let result = backend.combine_backward(&op, grad(dz.each_ref()), out.get());
    arena.keep(dz.into_iter().chain(out.into_buffers()));
    result
}

fn max_pool_op(dtype: DType) -> Result<MaxPool> {
    MaxPool::new(IMAGE, (3, 3), 2, Padding::all(1), PadValue::NegInf, dtype)
}

fn max_pool<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = max_pool_op(arena.dtype)?;
    backend.prepare(&[Op::MaxPool(op)])?;
    let x = arena.buffers(backend, source_args(op.x_desc()))?;
    let args = [("y", true, op.y_desc()), ("index", true, op.index_desc()), ("sums", true, sums())];
    let [mut y, mut index, mut sums] = arena.buffers(backend, args)?;
    let result = backend.max_pool(&op, source(x.each_ref()), &mut y, Some(&mut index), Some(&mut sums));
    arena.keep(x.into_iter().chain([y, index, sums]));
    result
}

fn max_pool_backward<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = max_pool_op(arena.dtype)?;
    backend.prepare(&[Op::MaxPool(op)])?;
    let dy = arena.buffers(backend, grad_args(op.y_desc()))?;
    let [index] = arena.buffers(backend, [("index", false, op.index_desc())])?;
    let mut out = Out::new(arena.buffers(backend, Out::<B::Buffer>::args(op.x_desc()))?);
    let result = backend.max_pool_backward(&op, grad(dy.each_ref()), &index, out.get());
    arena.keep(dy.into_iter().chain([index]).chain(out.into_buffers()));
    result
}

fn avg_pool_op(dtype: DType) -> Result<AvgPool> {
    AvgPool::new(IMAGE, (2, 2), 2, Padding::default(), dtype)
}

fn avg_pool<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = avg_pool_op(arena.dtype)?;
    backend.prepare(&[Op::AvgPool(op)])?;
    let x = arena.buffers(backend, source_args(op.x_desc()))?;
    let [mut y] = arena.buffers(backend, [("y", true, op.y_desc())])?;
    let result = backend.avg_pool(&op, source(x.each_ref()), &mut y);
    arena.keep(x.into_iter().chain([y]));
    result
}

fn avg_pool_backward<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = avg_pool_op(arena.dtype)?;
    backend.prepare(&[Op::AvgPool(op)])?;
    let dy = arena.buffers(backend, grad_args(op.y_desc()))?;
    let mut out = Out::new(arena.buffers(backend, Out::<B::Buffer>::args(op.x_desc()))?);
    let result = backend.avg_pool_backward(&op, grad(dy.each_ref()), out.get());
    arena.keep(dy.into_iter().chain(out.into_buffers()));
    result
}

fn norm_op<B: Backend>(backend: &mut B) -> Result<BatchNorm> {
    let op = BatchNorm::new(C, 9, 1e-5, 0.1, true)?;
    backend.prepare(&[Op::BatchNorm(op)])?;
    Ok(op)
}

fn norm_finish<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = norm_op(backend)?;
    let args = [
        ("sums", false, sums()),
        ("gamma", false, table(1)),
        ("beta", false, table(1)),
        ("running.mean", true, table(1)),
        ("running.var", true, table(1)),
        ("affine", true, table(2)),
        ("moments", true, table(2)),
    ];
    let [sums, gamma, beta, mut mean, mut var, mut affine, mut moments] = arena.buffers(backend, args)?;
    let running = Running { mean: &mut mean, var: &mut var };
    let result = backend.norm_finish(&op, &sums, &gamma, &beta, running, &mut affine, &mut moments);
    arena.keep([sums, gamma, beta, mean, var, affine, moments]);
    result
}

fn norm_frozen<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = norm_op(backend)?;
    let args = [
        ("running_mean", false, table(1)),
        ("running_var", false, table(1)),
        ("gamma", false, table(1)),
        ("beta", false, table(1)),
        ("affine", true, table(2)),
    ];
    let [mean, var, gamma, beta, mut affine] = arena.buffers(backend, args)?;
    let result = backend.norm_frozen(&op, &mean, &var, &gamma, &beta, &mut affine);
    arena.keep([mean, var, gamma, beta, affine]);
    result
}

fn norm_frozen_backward<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = norm_op(backend)?;
    let [affine, mut coeffs] =
        arena.buffers(backend, [("affine", false, table(2)), ("coeffs", true, table(3))])?;
    let result = backend.norm_frozen_backward(&op, &affine, &mut coeffs);
    arena.keep([affine, coeffs]);
    result
}

fn norm_backward_finish<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = norm_op(backend)?;
    let args = [
        ("sums", false, sums()),
        ("moments", false, table(2)),
        ("gamma", false, table(1)),
        ("dgamma", true, table(1)),
        ("dbeta", true, table(1)),
        ("coeffs", true, table(3)),
    ];
    let [sums, moments, gamma, mut dgamma, mut dbeta, mut coeffs] = arena.buffers(backend, args)?;
    let (dg, db, set) = (&mut dgamma, &mut dbeta, Accumulate::Set);
    let result = backend.norm_backward_finish(&op, &sums, &moments, &gamma, dg, db, set, &mut coeffs);
    arena.keep([sums, moments, gamma, dgamma, dbeta, coeffs]);
    result
}

fn softmax_cross_entropy<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let op = SoftmaxCrossEntropy::new(C, 10, 0.1, arena.dtype)?;
    backend.prepare(&[Op::SoftmaxCrossEntropy(op)])?;
    let args = [
        ("logits", false, op.logits_desc()),
        ("targets.a", false, op.labels_desc()),
        ("targets.b", false, op.labels_desc()),
        ("scalars", false, StepScalars::desc()),
        ("dlogits", true, op.logits_desc()),
        ("metrics", true, Metrics::desc()),
    ];
    let [logits, a, b, scalars, mut dlogits, mut metrics] = arena.buffers(backend, args)?;
    let targets = Targets { a: &a, b: Some(&b), n_valid: C };
    let (d, set) = (Some(&mut dlogits), Accumulate::Set);
    let result = backend.softmax_cross_entropy(&op, &logits, targets, &scalars, d, &mut metrics, set);
    arena.keep([logits, a, b, scalars, dlogits, metrics]);
    result
}

/// Two parameters with Adam's state.
fn params<Buf>(buffers: [Buf; 8]) -> Vec<Param<Buf>> {
    let [v0, g0, m0, s0, v1, g1, m1, s1] = buffers;
    let param = |desc, kind, value, grad, first, second| Param {
        desc,
        kind,
        value,
        grad: Some(grad),
        states: [Some(first), Some(second)],
        decay: true,
        lr_scale: 1.0,
    };
    vec![
        param(weight(), ParamKind::ConvWeight, v0, g0, m0, s0),
        param(table(1), ParamKind::Gamma, v1, g1, m1, s1),
    ]
}

fn weight() -> TensorDesc {
    TensorDesc::weight(8, 3, 3, 8)
}

fn params_args() -> [Arg; 8] {
    [
        ("params[0].value", true, weight()),
        ("params[0].grad", false, weight()),
        ("params[0].states[0]", true, weight()),
        ("params[0].states[1]", true, weight()),
        ("params[1].value", true, table(1)),
        ("params[1].grad", false, table(1)),
        ("params[1].states[0]", true, table(1)),
        ("params[1].states[1]", true, table(1)),
    ]
}

fn params_buffers<Buf>(params: Vec<Param<Buf>>) -> impl Iterator<Item = Buf> {
    params.into_iter().flat_map(|p| {
        let [first, second] = p.states;
        [Some(p.value), p.grad, first, second].into_iter().flatten()
    })
}

fn grad_norm<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    // The values are not read, but a parameter has one.
    let args = [
        ("params[0].grad", false, weight()),
        ("params[1].grad", false, table(1)),
        ("norm", true, TensorDesc::table(1, 1)),
    ];
    let [g0, g1, mut norm] = arena.buffers(backend, args)?;
    let mut param = |desc: TensorDesc, kind, grad| -> Result<Param<B::Buffer>> {
        let value = arena.plain(backend, desc)?;
        Ok(Param { desc, kind, value, grad: Some(grad), states: [None, None], decay: true, lr_scale: 1.0 })
    };
    let params = [param(weight(), ParamKind::ConvWeight, g0)?, param(table(1), ParamKind::Gamma, g1)?];
    let result = backend.grad_norm(&params, &mut norm);
    arena.keep(params.into_iter().filter_map(|p| p.grad).chain([norm]));
    result
}

fn update<B: Backend>(backend: &mut B, arena: &mut Arena<B::Buffer>) -> Result<()> {
    let rule = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 };
    let mut params = params(arena.buffers(backend, params_args())?);
    let [scalars] = arena.buffers(backend, [("scalars", false, StepScalars::desc())])?;
    let [norm] = arena.buffers(backend, [("norm", false, TensorDesc::table(1, 1))])?;
    let result = backend.update(&rule, &scalars, Some(&norm), &mut params);
    arena.keep(params_buffers(params).chain([scalars, norm]));
    result
}
