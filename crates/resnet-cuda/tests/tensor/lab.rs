//! A machine with tensors on it: the emulator, or the device that `RESNET_TEST_MACHINE=gpu0` names.

use half::{bf16, f16};
use resnet_cuda::compile::Cache;
use resnet_cuda::machine::device::Gpu;
use resnet_cuda::machine::emulator::{Emulator, compiler};
use resnet_cuda::machine::{Machine, Memory};
use resnet_cuda::probe;
use resnet_cuda::search::{Environment, Search};
use resnet_cuda::tensor::args::{GradSourceArgs, SourceArgs};
use resnet_cuda::tensor::{Element, Step};

use crate::near::Near;

/// Runs a test with an emulator, or prints one loud line where there is no C++ compiler.
pub(crate) fn with_lab(element: Element, test: impl FnOnce(&mut Lab)) {
    let Some(machine) = machine() else { return };
    test(&mut Lab { machine, element, kept: Vec::new() });
}

/// The same for kernels of Hopper's instructions, which the emulator has too.
pub(crate) fn with_hopper_lab(element: Element, test: impl FnOnce(&mut Lab)) {
    with_lab(element, |lab| match lab.machine.traits().capability {
        0 | 90 => test(lab),
        other => eprintln!("SKIPPED: this device has compute capability {}.{}", other / 10, other % 10),
    });
}

fn machine() -> Option<Box<dyn Machine>> {
    let named = std::env::var("RESNET_TEST_MACHINE").unwrap_or_default();
    if let Some(ordinal) = named.strip_prefix("gpu") {
        let search = Search::usual(&Environment::of_process());
        let ordinal = ordinal.parse().expect("a number follows `gpu`");
        let device = probe(&search, ordinal).unwrap_or_else(|error| panic!("{error}"));
        return Some(Box::new(Gpu::open(&search, device, Some(Cache::usual())).expect("opens")));
    }
    if compiler().is_none() {
        assert!(std::env::var_os("RESNET_TEST_REQUIRE_EMULATOR").is_none(), "there is no C++ compiler");
        eprintln!("SKIPPED: no C++ compiler, so no emulator");
        return None;
    }
    Some(Box::new(Emulator::new().expect("there is a compiler")))
}

pub(crate) struct Lab {
    machine: Box<dyn Machine>,
    pub(crate) element: Element,
    kept: Vec<Memory>,
}

/// A generator of inputs; a linear congruence is random enough for numbers in a sum.
pub(crate) struct Data(pub(crate) u64);

impl Data {
    /// A multiple of 1/64 below 2 in size.
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % 255) as f64 / 64.0 - 127.0 / 64.0
    }

    pub(crate) fn many(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// A tensor on the machine and what is in it.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) memory: Memory,
    pub(crate) values: Vec<f64>,
}

impl Tensor {
    pub(crate) fn address(&self) -> u64 {
        self.memory.address()
    }
}

impl Lab {
    fn keep(&mut self, bytes: &[u8]) -> Memory {
        let memory = self.alloc(bytes.len());
        self.machine.upload(&memory, 0, bytes).expect("copied");
        memory
    }

    /// Memory full of NaN, so that nothing may rest on it.
    pub(crate) fn alloc(&mut self, bytes: usize) -> Memory {
        let memory = self.machine.alloc(bytes.max(4)).expect("fits");
        self.machine.fill(&memory, 0, bytes, 0xff).expect("filled");
        self.kept.push(memory.clone());
        memory
    }

    /// A tensor of the element type as it lies in memory.
    pub(crate) fn activation(&mut self, values: Vec<f64>) -> Tensor {
        let bytes: Vec<u8> = match self.element {
            Element::Bf16 => values.iter().flat_map(|&v| bf16::from_f64(v).to_le_bytes()).collect(),
            Element::F16 => values.iter().flat_map(|&v| f16::from_f64(v).to_le_bytes()).collect(),
            Element::Tf32 => values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect(),
        };
        Tensor { memory: self.keep(&bytes), values }
    }

    /// A tensor of f32.
    pub(crate) fn floats(&mut self, values: Vec<f64>) -> Tensor {
        let bytes: Vec<u8> = values.iter().flat_map(|&v| (v as f32).to_le_bytes()).collect();
        Tensor { memory: self.keep(&bytes), values }
    }

    /// Room for an activation.
    pub(crate) fn out(&mut self, n: usize) -> Memory {
        self.alloc(n * self.element.bytes())
    }

    pub(crate) fn run(&mut self, steps: &[Step]) {
        for Step { unit, launch } in steps {
            self.machine.load(unit).unwrap_or_else(|error| panic!("{error}"));
            self.machine.launch(launch).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    fn bytes(&mut self, memory: &Memory, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.machine.download(memory, 0, &mut bytes).expect("copied");
        bytes
    }

    pub(crate) fn read(&mut self, memory: &Memory, n: usize) -> Vec<f64> {
        let bytes = self.bytes(memory, n * self.element.bytes());
        match self.element {
            Element::Bf16 => bytes.chunks(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f64()).collect(),
            Element::F16 => bytes.chunks(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f64()).collect(),
            Element::Tf32 => floats(&bytes),
        }
    }

    pub(crate) fn read_floats(&mut self, memory: &Memory, n: usize) -> Vec<f64> {
        let bytes = self.bytes(memory, 4 * n);
        floats(&bytes)
    }

    /// A source of so many pixels and channels, and its values before they become operands.
    pub(crate) fn source(
        &mut self,
        data: &mut Data,
        form: SourceForm,
        n: usize,
        c: usize,
    ) -> (SourceArgs, Vec<Near>) {
        let raw = self.activation(data.many(n * c));
        let affine = form.affine.then(|| self.floats(data.many(2 * c)));
        let residual = form.residual.then(|| self.activation(data.many(n * c)));
        let residual_affine = (form.residual && form.affine).then(|| self.floats(data.many(2 * c)));
        let address = |tensor: &Option<Tensor>| tensor.as_ref().map_or(0, Tensor::address);
        let args = SourceArgs {
            affine: address(&affine),
            residual: address(&residual),
            residual_affine: address(&residual_affine),
            relu: u32::from(form.relu),
            ..SourceArgs::raw(raw.address())
        };
        let term = |raw: &Tensor, table: &Option<Tensor>, i: usize| match table {
            None => Near::exact(raw.values[i]),
            Some(t) => Near::fma(t.values[i % c], raw.values[i], Near::exact(t.values[c + i % c])),
        };
        let values = (0..n * c).map(|i| {
            let mut value = term(&raw, &affine, i);
            if let Some(residual) = &residual {
                value = value.plus(term(residual, &residual_affine, i));
            }
            if form.relu { value.relu() } else { value }
        });
        (args, values.collect())
    }

    /// The same for a gradient.
    pub(crate) fn gradient(
        &mut self,
        data: &mut Data,
        norm: bool,
        n: usize,
        c: usize,
    ) -> (GradSourceArgs, Vec<Near>) {
        let dz = self.activation(data.many(n * c));
        if !norm {
            return (GradSourceArgs::raw(dz.address()), dz.values.iter().copied().map(Near::exact).collect());
        }
        let (y, coeffs) = (self.activation(data.many(n * c)), self.floats(data.many(3 * c)));
        let args = GradSourceArgs { dz: dz.address(), coeffs: coeffs.address(), y: y.address() };
        let values = (0..n * c).map(|i| {
            let [a, b, shift] = [0, 1, 2].map(|row| coeffs.values[row * c + i % c]);
            Near::fma(a, dz.values[i], Near::fma(b, y.values[i], Near::exact(shift)))
        });
        (args, values.collect())
    }

    /// What an operand is once it is rounded: exact values that need no prologue stay exact.
    pub(crate) fn operand(&self, value: Near, evaluated: bool) -> Near {
        if evaluated { value.to(self.element) } else { value }
    }
}

fn floats(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
}

/// Which parts a source has; a residual has an affine where the source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceForm {
    pub(crate) affine: bool,
    pub(crate) residual: bool,
    pub(crate) relu: bool,
}

impl SourceForm {
    /// Whether an operand is more than a copy of what lies in memory. A ReLU of it is a copy or zero.
    pub(crate) fn evaluates(self) -> bool {
        self.affine || self.residual
    }
}
