//! Tensor cores behind the trait give what ordinary units give.
//!
//! Tensors hold small whole numbers, so that every product, sum and normalised value is exact in bf16's, tf32's and f32's arithmetic alike.
//! Then both ways must agree bit for bit, whatever their order of additions; only the statistics, which divide, may round.

mod common;

use resnet_core::op::{BatchNorm, Conv2d, Padding};
use resnet_core::{
    Accumulate, Backend, DType, GradNorm, GradOut, GradSource, GradSums, HostData, HostDataMut, Residual,
    Running, Source, TensorDesc,
};
use resnet_cuda::CudaBackend;
use resnet_cuda::choice::Choice;

type Buffer = <CudaBackend as Backend>::Buffer;

struct Lab {
    backend: CudaBackend,
    seed: u64,
}

impl Lab {
    /// On the emulator, or on the device that `RESNET_TEST_MACHINE=gpu0` names.
    fn new(choice: Choice) -> Self {
        let named = std::env::var("RESNET_TEST_MACHINE").unwrap_or_default();
        let backend = match named.strip_prefix("gpu") {
            Some(ordinal) => {
                CudaBackend::new(ordinal.parse().expect("a number follows `gpu`")).expect("opens")
            }
            None => common::emulated(),
        };
        Lab { backend: backend.with_choice(choice), seed: 7 }
    }

    fn zeros(&mut self, desc: &TensorDesc) -> Buffer {
        let bytes = self.backend.buffer_bytes(desc);
        self.backend.alloc(bytes).expect("fits")
    }

    fn upload(&mut self, desc: &TensorDesc, values: &[f32]) -> Buffer {
        let mut buffer = self.zeros(desc);
        self.backend.upload(desc, HostData::F32(values), &mut buffer).expect("copied");
        buffer
    }

    /// Whole numbers from -2 to 2.
    fn whole(&mut self, desc: &TensorDesc) -> Buffer {
        let mut next = || {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.seed >> 40) as i64 % 3 - (self.seed >> 50) as i64 % 3
        };
        let values: Vec<f32> = (0..desc.len()).map(|_| next() as f32).collect();
        self.upload(desc, &values)
    }

    fn read(&mut self, desc: &TensorDesc, buffer: &Buffer) -> Vec<f32> {
        let mut values = vec![0.0; desc.len()];
        self.backend.download(desc, buffer, HostDataMut::F32(&mut values)).expect("copied");
        values
    }
}

/// What the three directions leave: exact values, and statistics.
fn all_directions(choice: Choice, op: &Conv2d) -> (Vec<Vec<f32>>, Vec<f32>) {
    let mut lab = Lab::new(choice);
    let (x_desc, y_desc, w_desc) = (op.x_desc(), op.y_desc(), op.w_desc());
    let (c, k) = (op.c(), op.k());
    let raw = lab.whole(&x_desc);
    let affine = lab.whole(&TensorDesc::affine(c));
    let other = lab.whole(&x_desc);
    let w = lab.whole(&w_desc);
    let bias = lab.whole(&op.bias_desc());
    let plain = Source::raw(&raw);
    let normalised = Source { raw: &raw, affine: Some(&affine), residual: None, relu: true };
    let residual = Source { residual: Some(Residual { raw: &other, affine: None }), ..normalised };
    let mut exact = Vec::new();
    let mut rounded = Vec::new();

    for (x, bias) in [(plain, None), (normalised, Some(&bias)), (residual, None)] {
        let mut y = lab.zeros(&y_desc);
        let mut sums = lab.zeros(&TensorDesc::sums(k));
        lab.backend.conv2d(op, x, &w, bias, &mut y, Some(&mut sums)).expect("computed");
        exact.push(lab.read(&y_desc, &y));
        rounded.extend(statistics(&mut lab, &y_desc, &sums));
    }

    let dz = lab.whole(&y_desc);
    let y = lab.whole(&y_desc);
    let coeffs = lab.whole(&TensorDesc::coeffs(k));
    let through_norm = GradSource { dz: &dz, norm: Some(GradNorm { coeffs: &coeffs, y: &y }) };
    for dy in [GradSource::raw(&dz), through_norm] {
        let mut dx = lab.whole(&x_desc);
        let moments = lab.whole(&TensorDesc::moments(c));
        let mut sums = lab.zeros(&TensorDesc::sums(c));
        let out = GradOut {
            dx: &mut dx,
            accumulate: Accumulate::Add,
            add: Some(&other),
            mask: Some(normalised),
            sums: [Some(GradSums { y: &raw, moments: &moments, sums: &mut sums }), None],
        };
        lab.backend.conv2d_backward_data(op, dy, &w, out).expect("computed");
        exact.push(lab.read(&x_desc, &dx));
        let table = TensorDesc::table(1, c);
        let (mut dgamma, mut dbeta) = (lab.zeros(&table), lab.zeros(&table));
        let gamma = lab.upload(&table, &vec![1.0; c]);
        let mut coeffs = lab.zeros(&TensorDesc::coeffs(c));
        let norm = norm(&x_desc);
        let ones = lab.upload(&TensorDesc::moments(c), &vec![1.0; 2 * c]);
        lab.backend
            .norm_backward_finish(
                &norm,
                &sums,
                &ones,
                &gamma,
                &mut dgamma,
                &mut dbeta,
                Accumulate::Set,
                &mut coeffs,
            )
            .expect("computed");
        rounded.extend(lab.read(&table, &dgamma));
        rounded.extend(lab.read(&table, &dbeta));

        for (x, accumulate) in
            [(plain, Accumulate::Set), (normalised, Accumulate::Add), (residual, Accumulate::Set)]
        {
            let mut dw = lab.whole(&w_desc);
            let mut dbias = lab.whole(&op.bias_desc());
            lab.backend
                .conv2d_backward_weight(op, x, dy, &mut dw, Some(&mut dbias), accumulate)
                .expect("computed");
            exact.push(lab.read(&w_desc, &dw));
            exact.push(lab.read(&op.bias_desc(), &dbias));
        }
    }
    (exact, rounded)
}

fn norm(desc: &TensorDesc) -> BatchNorm {
    BatchNorm::new(desc.c, desc.n * desc.h * desc.w, 1e-5, 0.1, true).expect("is valid")
}

/// Mean and inverse deviation that the sums stand for.
fn statistics(lab: &mut Lab, desc: &TensorDesc, sums: &Buffer) -> Vec<f32> {
    let c = desc.c;
    let table = TensorDesc::table(1, c);
    let (gamma, beta) = (lab.upload(&table, &vec![1.0; c]), lab.zeros(&table));
    let (mut mean, mut var) = (lab.zeros(&table), lab.zeros(&table));
    let (mut affine, mut moments) = (lab.zeros(&TensorDesc::affine(c)), lab.zeros(&TensorDesc::moments(c)));
    let running = Running { mean: &mut mean, var: &mut var };
    lab.backend
        .norm_finish(&norm(desc), sums, &gamma, &beta, running, &mut affine, &mut moments)
        .expect("computed");
    lab.read(&TensorDesc::moments(c), &moments)
}

fn agree(forced: Choice, dtype: DType) {
    let pad = Padding::all;
    for (x, k, window, stride, padding) in [
        ((2, 9, 10, 3), 16, (7, 7), 2, pad(3)), // a stem
        ((2, 6, 5, 16), 24, (3, 3), 1, pad(1)), // the inside of a block
        ((1, 7, 7, 24), 16, (3, 3), 2, pad(1)), // its first
        ((2, 6, 6, 16), 72, (1, 1), 2, pad(0)), // a projection
        ((5, 1, 1, 40), 10, (1, 1), 1, pad(0)), // a classifier
    ] {
        let op = Conv2d::new(x, k, window, stride, padding, 1, dtype).expect("is valid");
        let (exact, rounded) = all_directions(forced, &op);
        let (wanted, statistics) = all_directions(Choice::Simt, &op);
        assert_eq!(exact, wanted, "{op:?}");
        let repeated = all_directions(forced, &op);
        assert_eq!((exact, rounded.clone()), repeated, "{op:?} is not repeated bit for bit");
        // Statistics are f32 numbers from f64 sums of f32 partial ones; each way stays within 128 roundings of f32, see tests/tensor.
        for (got, wanted) in rounded.iter().zip(statistics) {
            let far = (got - wanted).abs() / wanted.abs().max(1.0);
            assert!(far <= 256.0 * f32::EPSILON, "{got} and {wanted}, {op:?}");
        }
    }
}

#[test]
fn bf16_on_tensor_cores_is_bf16_on_ordinary_units() {
    agree(Choice::Tensor, DType::Bf16);
}

#[test]
fn tf32_on_tensor_cores_is_f32_on_ordinary_units_for_numbers_that_tf32_holds() {
    agree(Choice::Tf32, DType::F32);
}
