//! All three directions of a convolution, with everything that may be fused with them, on whole numbers.

use resnet_core::op::{BatchNorm, Conv2d, Op};
use resnet_core::{
    Accumulate, Backend, GradNorm, GradOut, GradSource, GradSums, HostData, HostDataMut, Residual, Running,
    Source, TensorDesc,
};
use resnet_cuda::CudaBackend;

type Buffer = <CudaBackend as Backend>::Buffer;

struct Lab<'a> {
    backend: &'a mut CudaBackend,
    seed: u64,
}

impl Lab<'_> {
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
pub(crate) fn all_directions(backend: &mut CudaBackend, op: &Conv2d) -> (Vec<Vec<f32>>, Vec<f32>) {
    let ops = [Op::Conv2d(*op), Op::Conv2dBackwardData(*op), Op::Conv2dBackwardWeight(*op)];
    backend.prepare(&ops).expect("prepared");
    let mut lab = Lab { backend, seed: 7 };
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

    for (x, bias) in [(plain, None), (normalised, None), (normalised, Some(&bias)), (residual, None)] {
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
    let moments = [0, 1].map(|_| lab.whole(&TensorDesc::moments(c)));
    for dy in [GradSource::raw(&dz), through_norm] {
        // Everything at once; inside a block; towards the block before, without and with a projection.
        for (accumulate, add, mask, ys) in [
            (Accumulate::Add, Some(&other), normalised, [Some(&raw), None]),
            (Accumulate::Set, None, normalised, [Some(&raw), None]),
            (Accumulate::Set, Some(&other), plain, [Some(&other), None]),
            (Accumulate::Set, Some(&other), plain, [Some(&other), Some(&raw)]),
        ] {
            let mut dx = lab.whole(&x_desc);
            let [mut first, mut second] = [0, 1].map(|_| lab.zeros(&TensorDesc::sums(c)));
            let [y, other_y] = ys;
            let out = GradOut {
                dx: &mut dx,
                accumulate,
                add,
                mask: Some(mask),
                sums: [
                    y.map(|y| GradSums { y, moments: &moments[0], sums: &mut first }),
                    other_y.map(|y| GradSums { y, moments: &moments[1], sums: &mut second }),
                ],
            };
            lab.backend.conv2d_backward_data(op, dy, &w, out).expect("computed");
            exact.push(lab.read(&x_desc, &dx));
            for sums in [&first, &second] {
                rounded.extend(gradient_sums(&mut lab, &x_desc, sums));
            }
        }

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

/// What the sums of a gradient stand for, with a normalisation of mean 1 and deviation 1.
fn gradient_sums(lab: &mut Lab<'_>, desc: &TensorDesc, sums: &Buffer) -> Vec<f32> {
    let c = desc.c;
    let table = TensorDesc::table(1, c);
    let (mut dgamma, mut dbeta) = (lab.zeros(&table), lab.zeros(&table));
    let gamma = lab.upload(&table, &vec![1.0; c]);
    let mut coeffs = lab.zeros(&TensorDesc::coeffs(c));
    let ones = lab.upload(&TensorDesc::moments(c), &vec![1.0; 2 * c]);
    lab.backend
        .norm_backward_finish(
            &norm(desc),
            sums,
            &ones,
            &gamma,
            &mut dgamma,
            &mut dbeta,
            Accumulate::Set,
            &mut coeffs,
        )
        .expect("computed");
    [lab.read(&table, &dgamma), lab.read(&table, &dbeta)].concat()
}

/// Mean and inverse deviation that the sums stand for.
fn statistics(lab: &mut Lab<'_>, desc: &TensorDesc, sums: &Buffer) -> Vec<f32> {
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
