//! Weights as tensor cores want them are kept beside the weights: the update writes them, and no later step arranges weights again.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use resnet_conformance::strategy::networks::tiny;
use resnet_core::op::{Conv2d, Op, Optimizer, Padding, StepScalars};
use resnet_core::zoo::{Block, Shortcut, Variant};
use resnet_core::{
    Backend, DType, Executor, GradOut, GradSource, HostData, HostDataMut, LowerOptions, Param, ParamId,
    ParamKind, Params, Part, Pass, Result, Source, TensorDesc, TrainingStep,
};
use resnet_cuda::CudaBackend;
use resnet_cuda::buffer::Buffer;
use resnet_cuda::choice::Choice;
use resnet_cuda::compile::Unit;
use resnet_cuda::cudnn::{CudnnError, Target};
use resnet_cuda::machine::emulator::Emulator;
use resnet_cuda::machine::{Launch, Machine, Memory, RecordingId, Stamp, Traits};

/// The emulator, which writes down what is launched.
struct Noting {
    inner: Emulator,
    launched: Rc<RefCell<Vec<String>>>,
}

impl Machine for Noting {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn traits(&self) -> Traits {
        self.inner.traits()
    }
    fn load(&mut self, unit: &Unit) -> Result<()> {
        self.inner.load(unit)
    }
    fn alloc(&mut self, bytes: usize) -> Result<Memory> {
        self.inner.alloc(bytes)
    }
    fn free_bytes(&self) -> usize {
        self.inner.free_bytes()
    }
    fn upload(&mut self, to: &Memory, offset: usize, bytes: &[u8]) -> Result<()> {
        self.inner.upload(to, offset, bytes)
    }
    fn download(&mut self, from: &Memory, offset: usize, bytes: &mut [u8]) -> Result<()> {
        self.inner.download(from, offset, bytes)
    }
    fn fill(&mut self, to: &Memory, offset: usize, bytes: usize, value: u8) -> Result<()> {
        self.inner.fill(to, offset, bytes, value)
    }
    fn launch(&mut self, launch: &Launch) -> Result<()> {
        self.launched.borrow_mut().push(launch.kernel.to_string());
        self.inner.launch(launch)
    }
    fn cudnn(&mut self) -> std::result::Result<Target, CudnnError> {
        self.inner.cudnn()
    }
    fn stamp(&mut self) -> Result<Stamp> {
        self.inner.stamp()
    }
    fn milliseconds(&mut self, from: &Stamp, to: &Stamp) -> Result<f32> {
        self.inner.milliseconds(from, to)
    }
    fn synchronize(&mut self) -> Result<()> {
        self.inner.synchronize()
    }
    fn begin_recording(&mut self) -> Result<()> {
        self.inner.begin_recording()
    }
    fn end_recording(&mut self) -> Result<RecordingId> {
        self.inner.end_recording()
    }
    fn replay(&mut self, recording: RecordingId) -> Result<()> {
        self.inner.replay(recording)
    }
    fn forget(&mut self, recording: RecordingId) {
        self.inner.forget(recording);
    }
}

fn noting() -> (CudaBackend, Rc<RefCell<Vec<String>>>) {
    common::require_emulator();
    let launched = Rc::<RefCell<Vec<String>>>::default();
    let inner = Emulator::new().expect("there is a compiler");
    let machine = Noting { inner, launched: launched.clone() };
    (CudaBackend::on(Box::new(machine)).expect("kernels compile"), launched)
}

fn packs(launched: &RefCell<Vec<String>>) -> usize {
    launched.borrow().iter().filter(|kernel| kernel.starts_with("pack_")).count()
}

fn put(backend: &mut CudaBackend, desc: TensorDesc, values: &[f32]) -> Buffer {
    let bytes = backend.buffer_bytes(&desc);
    let mut buffer = backend.alloc(bytes).expect("fits");
    backend.upload(&desc, HostData::F32(values), &mut buffer).expect("copied");
    buffer
}

fn get(backend: &mut CudaBackend, desc: TensorDesc, buffer: &Buffer) -> Vec<f32> {
    let mut values = vec![0.0; desc.len()];
    backend.download(&desc, buffer, HostDataMut::F32(&mut values)).expect("copied");
    values
}

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// Both directions that read weights.
fn both_ways(backend: &mut CudaBackend, op: &Conv2d, w: &Buffer) -> (Vec<f32>, Vec<f32>) {
    let x = put(backend, op.x_desc(), &numbers(op.x_desc().len(), 1));
    let dy = put(backend, op.y_desc(), &numbers(op.y_desc().len(), 2));
    let mut y = put(backend, op.y_desc(), &vec![f32::NAN; op.y_desc().len()]);
    let mut dx = put(backend, op.x_desc(), &vec![f32::NAN; op.x_desc().len()]);
    backend.conv2d(op, Source::raw(&x), w, None, &mut y, None).expect("runs");
    let out = GradOut::set(&mut dx);
    backend.conv2d_backward_data(op, GradSource::raw(&dy), w, out).expect("runs");
    (get(backend, op.y_desc(), &y), get(backend, op.x_desc(), &dx))
}

/// Squares of 64 that are full, cut off, and smaller than a vector; every element type; with and without a momentum.
#[test]
fn the_update_writes_what_would_be_packed() {
    let shapes = [(100, 70, 3), (64, 64, 1), (5, 3, 3), (72, 132, 1)];
    let kinds = [(DType::Bf16, Choice::Tensor), (DType::F16, Choice::Tensor), (DType::F32, Choice::Tf32)];
    for (i, (k, c, window)) in shapes.into_iter().enumerate() {
        for (dtype, choice) in kinds {
            let (backend, launched) = noting();
            let backend = &mut backend.with_choice(choice);
            let op = Conv2d::new((1, 3, 4, c), k, (window, window), 1, Padding::all(window / 2), 1, dtype);
            let op = op.expect("is valid");
            backend.prepare(&[Op::Conv2d(op), Op::Conv2dBackwardData(op)]).expect("fits");
            let desc = op.w_desc();
            let momentum = if i % 2 == 0 { 0.9 } else { 0.0 };
            let rule = Optimizer::Sgd { momentum, nesterov: false, weight_decay: 0.01 };
            let mut param = || Param {
                desc,
                kind: ParamKind::ConvWeight,
                value: put(backend, desc, &numbers(desc.len(), 3)),
                grad: Some(put(backend, desc, &numbers(desc.len(), 4))),
                states: [Some(put(backend, desc, &numbers(desc.len(), 5))), None],
                decay: true,
                lr_scale: 1.0,
            };
            // No convolution reads the second, so it has no copies and is updated in rows.
            let mut params = [param(), param()];
            let before = both_ways(backend, &op, &params[0].value);
            assert_eq!(packs(&launched), 2);

            let scalars = StepScalars { lr: 0.5, ..StepScalars::default() };
            let scalars = put(backend, StepScalars::desc(), &scalars.to_array());
            backend.update(&rule, &scalars, None, &mut params).expect("runs");
            let kept = both_ways(backend, &op, &params[0].value);
            assert_eq!(packs(&launched), 2, "{op:?} arranged its weights again");

            let values = get(backend, desc, &params[0].value);
            assert!(values == get(backend, desc, &params[1].value), "{op:?}: copies change the update");
            let [velocity, wanted] =
                [0, 1].map(|i| get(backend, desc, params[i].states[0].as_ref().expect("has one")));
            assert!(velocity == wanted, "{op:?}: copies change the velocity");
            let fresh = put(backend, desc, &values);
            assert!(
                both_ways(backend, &op, &fresh) == kept,
                "{op:?}: the copies are not what would be packed"
            );
            assert_eq!(packs(&launched), 4);
            assert!(before != kept);

            // What is written by anybody else is read anew.
            backend
                .upload(&desc, HostData::F32(&numbers(desc.len(), 3)), &mut params[0].value)
                .expect("copied");
            assert!(both_ways(backend, &op, &params[0].value) == before);
        }
    }
}

/// Whole steps: losses and weights are those of a run that throws its copies away, and only the first step packs.
#[test]
fn only_the_first_step_packs() {
    let train = |forget: bool| {
        let (mut backend, launched) = noting();
        let backend = &mut backend;
        let rule = Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 1e-3 };
        let graph = tiny(Variant::V1, Block::Bottleneck, Shortcut::Projection).build().expect("is valid");
        let values = resnet_core::init::initial_values(&graph, 1);
        let mut params = Params::new(backend, &graph, &values, Some(&rule)).expect("fits");
        let options = LowerOptions { dtype: DType::Bf16, ..LowerOptions::train(2) };
        let mut net = Executor::new(backend, &graph, options, 0.0).expect("fits");
        let scalars = StepScalars { lr: 0.05, ..StepScalars::default() };
        net.set_scalars(backend, &scalars).expect("copied");
        let mut training = TrainingStep::new(rule);
        let key = backend.new_recording();
        let (mut losses, mut packed) = (vec![], vec![]);
        for step in 0..4usize {
            let pixels: Vec<u8> =
                (0..2 * graph.input_shape().len()).map(|i| (i * (step + 3) % 251) as u8).collect();
            net.put_pixels(backend, &pixels).expect("copied");
            net.put_labels(backend, &[0, 1], None).expect("copied");
            launched.borrow_mut().clear();
            backend
                .recorded(key, |backend| {
                    training.compute(backend, &mut net, &mut params, Pass::whole(2), Executor::ingest)
                })
                .expect("runs");
            packed.push(packs(&launched));
            losses.push(net.metrics(backend).expect("copied").loss());
            if forget {
                for id in (0..params.list.len()).map(ParamId) {
                    let value = params.read(backend, id, Part::Value).expect("copied");
                    params.write(backend, id, Part::Value, &value).expect("copied");
                }
            }
        }
        (losses, params.values(backend).expect("copied"), packed)
    };
    let (losses, weights, packed) = train(false);
    assert!(packed[0] > 0 && packed[1..] == [0, 0, 0], "{packed:?}");
    let (wanted, wanted_weights, packed) = train(true);
    assert!(packed.iter().all(|&n| n > 0), "{packed:?}");
    assert_eq!(losses, wanted);
    assert!(weights == wanted_weights);
}
