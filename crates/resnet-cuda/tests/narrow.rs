//! Kernels for 16-bit activations, held to those for f32.
//!
//! Both compute in f32, in the same order, on inputs that are the same numbers; only what is stored differs.
//! So a 16-bit result is the f32 result rounded once, bit for bit. Statistics are taken of what was stored, and are compared with
//! sums in f64.

mod common;

use half::{bf16, f16};
use resnet_core::op::{
    AvgPool, BatchNorm, Combine, Conv2d, Ingest, MaxPool, Metrics, PadValue, Padding, SoftmaxCrossEntropy,
    StepScalars, Targets,
};
use resnet_core::{
    Accumulate, Backend, DType, GradNorm, GradOut, GradSource, GradSums, HostData, HostDataMut, Residual,
    Result, Running, Source, TensorDesc,
};
use resnet_cuda::CudaBackend;
use resnet_cuda::choice::Choice;

type Buffer = <CudaBackend as Backend>::Buffer;

/// Makes the same tensors, in order, on every run.
struct Lab {
    backend: CudaBackend,
    dtype: DType,
    state: u64,
}

impl Lab {
    fn new(dtype: DType) -> Self {
        Lab { backend: common::emulated().with_choice(Choice::Simt), dtype, state: 1 }
    }

    /// Numbers in -2..2 that bf16 and f16 hold exactly: multiples of 2⁻²², rounded to 8 bits.
    fn numbers(&mut self, len: usize) -> Vec<f32> {
        let mut next = || {
            self.state =
                self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bf16::from_f32((self.state >> 40) as f32 / (1 << 22) as f32 - 2.0).to_f32()
        };
        (0..len).map(|_| next()).collect()
    }

    fn empty(&mut self, desc: TensorDesc) -> Result<Buffer> {
        let bytes = self.backend.buffer_bytes(&desc);
        self.backend.alloc(bytes)
    }

    fn put(&mut self, desc: TensorDesc) -> Result<Buffer> {
        let values = self.numbers(desc.len());
        let mut buffer = self.empty(desc)?;
        self.backend.upload(&desc, HostData::F32(&values), &mut buffer)?;
        Ok(buffer)
    }

    fn get(&mut self, desc: TensorDesc, buffer: &Buffer) -> Result<Vec<f32>> {
        let mut values = vec![0.0; desc.len()];
        self.backend.download(&desc, buffer, HostDataMut::F32(&mut values))?;
        Ok(values)
    }

    /// Mean and 1/σ from sums.
    fn moments(&mut self, c: usize, m: usize, sums: &Buffer) -> Result<Vec<f32>> {
        let row = TensorDesc::table(1, c);
        let op = BatchNorm::new(c, m, 1e-5, 0.1, true)?;
        let (gamma, beta) = (self.put(row)?, self.put(row)?);
        let (mut mean, mut var) = (self.put(row)?, self.put(row)?);
        let (mut affine, mut moments) =
            (self.empty(TensorDesc::affine(c))?, self.empty(TensorDesc::moments(c))?);
        let running = Running { mean: &mut mean, var: &mut var };
        self.backend.norm_finish(&op, sums, &gamma, &beta, running, &mut affine, &mut moments)?;
        self.get(TensorDesc::moments(c), &moments)
    }
}

/// A source with every part.
struct Whole([Buffer; 4]);

impl Whole {
    fn new(lab: &mut Lab, desc: TensorDesc) -> Result<Self> {
        let affine = TensorDesc::affine(desc.c);
        Ok(Whole([lab.put(desc)?, lab.put(affine)?, lab.put(desc)?, lab.put(affine)?]))
    }

    fn get(&self) -> Source<'_, Buffer> {
        let [raw, affine, other, other_affine] = &self.0;
        let residual = Some(Residual { raw: other, affine: Some(other_affine) });
        Source { raw, affine: Some(affine), residual, relu: true }
    }
}

/// A gradient with every part.
struct WholeGrad([Buffer; 3]);

impl WholeGrad {
    fn new(lab: &mut Lab, desc: TensorDesc) -> Result<Self> {
        Ok(WholeGrad([lab.put(desc)?, lab.put(TensorDesc::coeffs(desc.c))?, lab.put(desc)?]))
    }

    fn get(&self) -> GradSource<'_, Buffer> {
        let [dz, coeffs, y] = &self.0;
        GradSource { dz, norm: Some(GradNorm { coeffs, y }) }
    }
}

/// What an op left: activations, which round, and what stays f32.
#[derive(Default)]
struct Left {
    activations: Vec<(&'static str, Vec<f32>)>,
    exact: Vec<(&'static str, Vec<f32>)>,
}

/// Runs an op that leaves a gradient, with every part of the output.
fn backward(
    lab: &mut Lab,
    desc: TensorDesc,
    op: impl FnOnce(&mut CudaBackend, GradOut<'_, Buffer>) -> Result<()>,
) -> Result<Left> {
    let (mut dx, add, mask) = (lab.put(desc)?, lab.put(desc)?, Whole::new(lab, desc)?);
    let (y, moments) = (lab.put(desc)?, lab.put(TensorDesc::moments(desc.c))?);
    let mut sums = lab.empty(TensorDesc::sums(desc.c))?;
    let out = GradOut {
        dx: &mut dx,
        accumulate: Accumulate::Add,
        add: Some(&add),
        mask: Some(mask.get()),
        sums: [Some(GradSums { y: &y, moments: &moments, sums: &mut sums }), None],
    };
    op(&mut lab.backend, out)?;
    let dx = lab.get(desc, &dx)?;
    // The sum of what was stored is β's gradient.
    let row = TensorDesc::table(1, desc.c);
    let norm = BatchNorm::new(desc.c, desc.len() / desc.c, 1e-5, 0.1, true)?;
    let (gamma, mut dgamma, mut dbeta) = (lab.put(row)?, lab.empty(row)?, lab.empty(row)?);
    let mut coeffs = lab.empty(TensorDesc::coeffs(desc.c))?;
    let set = Accumulate::Set;
    lab.backend.norm_backward_finish(
        &norm,
        &sums,
        &moments,
        &gamma,
        &mut dgamma,
        &mut dbeta,
        set,
        &mut coeffs,
    )?;
    let dbeta = lab.get(row, &dbeta)?;
    for (channel, got) in dbeta.iter().enumerate() {
        let of_channel = || dx.iter().skip(channel).step_by(desc.c).map(|&v| f64::from(v));
        let (wanted, size) = (of_channel().sum::<f64>(), of_channel().map(f64::abs).sum::<f64>());
        // Any order of n additions errs by less than n units of 2⁻²⁴ of the sum of sizes.
        let allowed = (desc.len() / desc.c) as f64 * size / f64::from(1 << 24);
        assert!((f64::from(*got) - wanted).abs() <= allowed, "channel {channel}: {got} for {wanted}");
    }
    Ok(Left { activations: vec![("dx", dx)], ..Left::default() })
}

/// Runs a case in all types.
fn same(name: &str, case: impl Fn(&mut Lab) -> Result<Left>) {
    let wide = case(&mut Lab::new(DType::F32)).expect("f32 runs");
    let round = |dtype, v: f32| match dtype {
        DType::Bf16 => bf16::from_f32(v).to_f32(),
        _ => f16::from_f32(v).to_f32(),
    };
    for dtype in [DType::Bf16, DType::F16] {
        let narrow = case(&mut Lab::new(dtype)).expect("16 bits run");
        for ((output, wide), (_, narrow)) in wide.activations.iter().zip(&narrow.activations) {
            let rounded: Vec<f32> = wide.iter().map(|&v| round(dtype, v)).collect();
            assert_eq!(&rounded, narrow, "{name} in {dtype:?}: {output}");
        }
        assert_eq!(wide.exact, narrow.exact, "{name} in {dtype:?}");
    }
}

/// Whole vectors of channels, and not.
const CHANNELS: [usize; 2] = [16, 6];

#[test]
fn combine() {
    for c in CHANNELS {
        same("combine", |lab| {
            let op = Combine::new(3, 5, 4, c, lab.dtype)?;
            let (x, mut z) = (Whole::new(lab, op.desc())?, lab.empty(op.desc())?);
            lab.backend.combine(&op, x.get(), &mut z, None)?;
            Ok(Left { activations: vec![("z", lab.get(op.desc(), &z)?)], ..Left::default() })
        });
        same("combine_backward", |lab| {
            let op = Combine::new(3, 5, 4, c, lab.dtype)?;
            let dz = WholeGrad::new(lab, op.desc())?;
            backward(lab, op.desc(), |backend, out| backend.combine_backward(&op, dz.get(), out))
        });
    }
}

#[test]
fn convolutions() {
    for (c, k) in [(16, 8), (6, 5)] {
        let op = |lab: &Lab| Conv2d::new((2, 7, 6, c), k, (3, 3), 2, Padding::all(1), 1, lab.dtype);
        same("conv2d", |lab| {
            let op = op(lab)?;
            let (x, w, bias) =
                (Whole::new(lab, op.x_desc())?, lab.put(op.w_desc())?, lab.put(op.bias_desc())?);
            let mut y = lab.empty(op.y_desc())?;
            lab.backend.conv2d(&op, x.get(), &w, Some(&bias), &mut y, None)?;
            Ok(Left { activations: vec![("y", lab.get(op.y_desc(), &y)?)], ..Left::default() })
        });
        same("conv2d_backward_data", |lab| {
            let op = op(lab)?;
            let (dy, w) = (WholeGrad::new(lab, op.y_desc())?, lab.put(op.w_desc())?);
            backward(lab, op.x_desc(), |backend, out| backend.conv2d_backward_data(&op, dy.get(), &w, out))
        });
        same("conv2d_backward_weight", |lab| {
            let op = op(lab)?;
            let (x, dy) = (Whole::new(lab, op.x_desc())?, WholeGrad::new(lab, op.y_desc())?);
            let (mut dw, mut db) = (lab.put(op.w_desc())?, lab.put(op.bias_desc())?);
            let add = Accumulate::Add;
            lab.backend.conv2d_backward_weight(&op, x.get(), dy.get(), &mut dw, Some(&mut db), add)?;
            let exact = vec![("dw", lab.get(op.w_desc(), &dw)?), ("dbias", lab.get(op.bias_desc(), &db)?)];
            Ok(Left { exact, ..Left::default() })
        });
    }
}

#[test]
fn pools() {
    for c in CHANNELS {
        let image = (2, 7, 6, c);
        let max = |lab: &Lab| MaxPool::new(image, (3, 3), 2, Padding::all(1), PadValue::NegInf, lab.dtype);
        let avg = |lab: &Lab| AvgPool::new(image, (3, 3), 2, Padding::all(1), lab.dtype);
        same("max_pool", |lab| {
            let op = max(lab)?;
            let (x, mut y) = (Whole::new(lab, op.x_desc())?, lab.empty(op.y_desc())?);
            lab.backend.max_pool(&op, x.get(), &mut y, None, None)?;
            Ok(Left { activations: vec![("y", lab.get(op.y_desc(), &y)?)], ..Left::default() })
        });
        same("max_pool_backward", |lab| {
            let op = max(lab)?;
            let (x, mut y) = (Whole::new(lab, op.x_desc())?, lab.empty(op.y_desc())?);
            let mut index = lab.empty(op.index_desc())?;
            lab.backend.max_pool(&op, x.get(), &mut y, Some(&mut index), None)?;
            let dy = WholeGrad::new(lab, op.y_desc())?;
            backward(lab, op.x_desc(), |backend, out| backend.max_pool_backward(&op, dy.get(), &index, out))
        });
        same("avg_pool", |lab| {
            let op = avg(lab)?;
            let (x, mut y) = (Whole::new(lab, op.x_desc())?, lab.empty(op.y_desc())?);
            lab.backend.avg_pool(&op, x.get(), &mut y)?;
            Ok(Left { activations: vec![("y", lab.get(op.y_desc(), &y)?)], ..Left::default() })
        });
        same("avg_pool_backward", |lab| {
            let op = avg(lab)?;
            let dy = WholeGrad::new(lab, op.y_desc())?;
            backward(lab, op.x_desc(), |backend, out| backend.avg_pool_backward(&op, dy.get(), out))
        });
    }
}

#[test]
fn ends_of_the_network() {
    same("ingest", |lab| {
        let op = Ingest::new(2, 3, 5, 3, lab.dtype)?;
        let bytes: Vec<u8> = (0..op.pixels_desc().len()).map(|i| (i * 37 % 256) as u8).collect();
        let (mut pixels, affine) = (lab.empty(op.pixels_desc())?, lab.put(TensorDesc::affine(3))?);
        lab.backend.upload(&op.pixels_desc(), HostData::U8(&bytes), &mut pixels)?;
        let mut x = lab.empty(op.x_desc())?;
        lab.backend.ingest(&op, &pixels, &affine, &mut x)?;
        Ok(Left { activations: vec![("x", lab.get(op.x_desc(), &x)?)], ..Left::default() })
    });
    same("softmax_cross_entropy", |lab| {
        let op = SoftmaxCrossEntropy::new(3, 10, 0.1, lab.dtype)?;
        let (logits, mut a) = (lab.put(op.logits_desc())?, lab.empty(op.labels_desc())?);
        lab.backend.upload(&op.labels_desc(), HostData::U32(&[1, 9, 4]), &mut a)?;
        let mut scalars = lab.empty(StepScalars::desc())?;
        let values = StepScalars::default().to_array();
        lab.backend.upload(&StepScalars::desc(), HostData::F32(&values), &mut scalars)?;
        let (mut d, mut metrics) = (lab.empty(op.logits_desc())?, lab.empty(Metrics::desc())?);
        let targets = Targets { a: &a, b: None, n_valid: 2 };
        let set = Accumulate::Set;
        lab.backend.softmax_cross_entropy(
            &op,
            &logits,
            targets,
            &scalars,
            Some(&mut d),
            &mut metrics,
            set,
        )?;
        let activations = vec![("dlogits", lab.get(op.logits_desc(), &d)?)];
        Ok(Left { activations, exact: vec![("metrics", lab.get(Metrics::desc(), &metrics)?)] })
    });
}

/// Batch statistics are those of the rounded values.
#[test]
fn statistics() {
    for c in CHANNELS {
        let lab = &mut Lab::new(DType::Bf16);
        let op = Combine::new(3, 5, 4, c, lab.dtype).expect("is valid");
        let run = |lab: &mut Lab| -> Result<(Vec<f32>, Vec<f32>)> {
            let (x, mut z) = (Whole::new(lab, op.desc())?, lab.empty(op.desc())?);
            let mut sums = lab.empty(TensorDesc::sums(c))?;
            lab.backend.combine(&op, x.get(), &mut z, Some(&mut sums))?;
            Ok((lab.get(op.desc(), &z)?, lab.moments(c, op.rows(), &sums)?))
        };
        let (z, moments) = run(lab).expect("runs");
        for channel in 0..c {
            let of_channel = || z.iter().skip(channel).step_by(c).map(|&v| f64::from(v));
            let n = op.rows() as f64;
            let mean = of_channel().sum::<f64>() / n;
            let var = of_channel().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
            let inv_std = 1.0 / (var + f64::from(1e-5f32)).sqrt();
            // Sixty additions in f32 of positive terms, and some: 2⁻²⁴ each, relative.
            let near = |got: f32, wanted: f64| {
                (f64::from(got) - wanted).abs() <= 100.0 * wanted.abs() / f64::from(1 << 24)
            };
            assert!(near(moments[channel], mean), "channel {channel}: mean {} for {mean}", moments[channel]);
            let got = moments[c + channel];
            assert!(near(got, inv_std), "channel {channel}: 1/σ {got} for {inv_std}");
        }
    }
}
