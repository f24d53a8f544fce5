//! Graphs as the fake cuDNN executes them: tensors in f32, loops, and roundings where a tensor has a narrower type.

use std::collections::HashMap;
use std::ffi::c_int;

use super::Descriptor;

const POINTWISE: c_int = 13;
const FORWARD: c_int = 10;
const BACKWARD_WEIGHT: c_int = 11;
const BACKWARD_DATA: c_int = 12;
const STATISTICS: c_int = 14;
const REDUCTION: c_int = 22;

/// A tensor's description. Extents are n, c, h, w, or k, c, r, s.
#[derive(Clone, Debug)]
struct Tensor {
    id: i64,
    dtype: i64,
    extents: [usize; 4],
    strides: [usize; 4],
    in_memory: bool,
}

enum Operation {
    Convolution { kind: c_int, x: Tensor, w: Tensor, y: Tensor, stride: [i64; 2], pad: [i64; 2] },
    Pointwise { mode: i64, x: Tensor, other: Option<Tensor>, y: Tensor },
    /// Sums of values and, where wanted, of squares.
    Sums { x: Tensor, sum: Tensor, squares: Option<Tensor> },
}

pub(crate) struct Graph {
    operations: Vec<Operation>,
}

/// What an engine does wrong.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    Nothing,
    /// Something is added to the result of each convolution.
    Result,
    /// A convolution pads its input before what is computed of it, so its halo is not zero.
    Halo,
    /// The last sums are twice what they should be.
    Sums,
}

/// What was computed or loaded so far, by the number of its tensor, dense in the order of the extents.
type Values = HashMap<i64, Vec<f32>>;

impl Tensor {
    fn read(from: &Descriptor) -> Self {
        let four = |numbers: Vec<i64>| -> [usize; 4] {
            let numbers: Vec<usize> = numbers.into_iter().map(|v| usize::try_from(v).expect("is a size")).collect();
            numbers.try_into().expect("has four extents")
        };
        Tensor {
            id: from.number(906).expect("has a number"),
            dtype: from.number(901).expect("has a type"),
            extents: four(from.numbers(902)),
            strides: four(from.numbers(903)),
            in_memory: from.number(907).unwrap_or(0) == 0,
        }
    }

    fn len(&self) -> usize {
        self.extents.iter().product()
    }

    /// Dense index of an element.
    fn at(&self, [a, b, c, d]: [usize; 4]) -> usize {
        let [_, eb, ec, ed] = self.extents;
        ((a * eb + b) * ec + c) * ed + d
    }

    fn each(&self) -> impl Iterator<Item = [usize; 4]> + use<> {
        let [ea, eb, ec, ed] = self.extents;
        (0..ea).flat_map(move |a| {
            (0..eb).flat_map(move |b| (0..ec).flat_map(move |c| (0..ed).map(move |d| [a, b, c, d])))
        })
    }

    fn offset(&self, at: [usize; 4]) -> usize {
        at.iter().zip(self.strides).map(|(i, stride)| i * stride).sum()
    }

    fn load(&self, address: u64) -> Vec<f32> {
        // SAFETY: memory of the device is the process's, and whoever fills a pack promises that it is there.
        self.each().map(|at| unsafe { load(self.dtype, address, self.offset(at)) }).collect()
    }

    /// Keeps values as they are in a tensor of this type, in memory or not.
    fn keep(&self, values: Vec<f32>, all: &mut Values, addresses: &HashMap<i64, u64>) {
        let values: Vec<f32> = values.into_iter().map(|v| round(self.dtype, v)).collect();
        if self.in_memory {
            for (at, &v) in self.each().zip(&values) {
                // SAFETY: as in `load`.
                unsafe { store(self.dtype, addresses[&self.id], self.offset(at), v) };
            }
        }
        all.insert(self.id, values);
    }
}

impl Graph {
    pub(crate) fn read(graph: &Descriptor) -> Self {
        let operation = |from: &&'static Descriptor| -> Operation {
            let tensor = |attribute: c_int| from.descriptor(attribute).map(Tensor::read);
            let needed = |attribute: c_int| tensor(attribute).expect("is given");
            let convolution = |attribute: c_int, [x, w, y]: [c_int; 3]| {
                let description = from.descriptor(attribute).expect("describes a convolution");
                let two = |attribute: c_int| -> [i64; 2] {
                    description.numbers(attribute).try_into().expect("has two numbers")
                };
                assert_eq!((two(102), description.number(101)), ([1, 1], Some(1)), "dilation, cross-correlation");
                Operation::Convolution {
                    kind: from.kind(),
                    x: needed(x),
                    w: needed(w),
                    y: needed(y),
                    stride: two(103),
                    pad: two(105),
                }
            };
            match from.kind() {
                FORWARD => convolution(702, [704, 703, 705]),
                BACKWARD_DATA => convolution(708, [710, 709, 711]),
                BACKWARD_WEIGHT => convolution(714, [716, 715, 717]),
                STATISTICS => Operation::Sums { x: needed(772), sum: needed(773), squares: tensor(774) },
                REDUCTION => Operation::Sums { x: needed(1610), sum: needed(1611), squares: None },
                POINTWISE => {
                    let mode = from.descriptor(750).and_then(|f| f.number(0)).expect("has a mode");
                    let (other, y) = if mode == 200 { (tensor(757), needed(756)) } else { (tensor(752), needed(753)) };
                    Operation::Pointwise { mode, x: needed(751), other, y }
                }
                other => panic!("operation {other} is not known"),
            }
        };
        Graph { operations: graph.descriptors(801).iter().map(operation).collect() }
    }

    fn tensors(&self) -> Vec<&Tensor> {
        let of = |operation| match operation {
            &Operation::Convolution { ref x, ref w, ref y, .. } => vec![x, w, y],
            Operation::Pointwise { x, other, y, .. } => [Some(x), other.as_ref(), Some(y)].into_iter().flatten().collect(),
            Operation::Sums { x, sum, squares } => [Some(x), Some(sum), squares.as_ref()].into_iter().flatten().collect(),
        };
        self.operations.iter().flat_map(of).collect()
    }

    /// Numbers of the tensors in memory, ascending.
    pub(crate) fn in_memory(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.tensors().iter().filter(|t| t.in_memory).map(|t| t.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Whether there is nothing but a convolution.
    pub(crate) fn is_plain(&self) -> bool {
        self.operations.len() == 1
    }

    /// Whether sums and sums of squares are taken in one operation.
    pub(crate) fn has_statistics(&self) -> bool {
        self.operations.iter().any(|operation| matches!(operation, Operation::Sums { squares: Some(_), .. }))
    }

    /// Whether something is computed before the convolution.
    pub(crate) fn has_prologue(&self) -> bool {
        self.convolution() > Some(0)
    }

    /// Whether a forward convolution has a prologue with tables of f32.
    pub(crate) fn has_wide_prologue(&self) -> bool {
        let forward = self
            .operations
            .iter()
            .any(|operation| matches!(operation, Operation::Convolution { kind: FORWARD, .. }));
        forward
            && matches!(self.operations.first(), Some(Operation::Pointwise { other: Some(table), .. }) if table.dtype == 0)
    }

    /// Whether something but sums is computed after it.
    pub(crate) fn has_end(&self) -> bool {
        let after = self.convolution().map_or(&[][..], |at| &self.operations[at + 1..]);
        after.iter().any(|operation| matches!(operation, Operation::Pointwise { mode: 200, .. }))
    }

    /// The place of the convolution among the operations.
    fn convolution(&self) -> Option<usize> {
        self.operations.iter().position(|operation| matches!(operation, Operation::Convolution { .. }))
    }

    /// Whether the window is larger than a pixel.
    pub(crate) fn has_halo(&self) -> bool {
        self.operations.iter().any(|operation| matches!(operation, Operation::Convolution { pad, .. } if *pad != [0, 0]))
    }

    pub(crate) fn output_channels(&self) -> usize {
        self.operations
            .iter()
            .find_map(|operation| match operation {
                Operation::Convolution { w, .. } => Some(w.extents[0]),
                _ => None,
            })
            .unwrap_or(0)
    }

    /// What the operations before the convolution make of zeros, per channel.
    fn of_zeros(&self, addresses: &HashMap<i64, u64>) -> Vec<f32> {
        let mut known: HashMap<i64, Vec<f32>> = HashMap::new();
        let mut last = Vec::new();
        for operation in &self.operations[..self.convolution().unwrap_or(0)] {
            let Operation::Pointwise { mode, x, other, y } = operation else { continue };
            let of = |tensor: &Tensor| {
                let table = tensor.extents[2] * tensor.extents[3] == 1;
                known.get(&tensor.id).cloned().unwrap_or_else(|| {
                    if table { tensor.load(addresses[&tensor.id]) } else { vec![0.0; tensor.extents[1]] }
                })
            };
            let (a, b) = (of(x), other.as_ref().map(of));
            let second = |i: usize| b.as_ref().map_or(0.0, |b| b[i]);
            last = a.iter().enumerate().map(|(i, &v)| pointwise(*mode, v, second(i))).collect();
            known.insert(y.id, last.clone());
        }
        last
    }

    /// Computes everything.
    pub(crate) fn run(&self, addresses: &HashMap<i64, u64>, fault: Fault) {
        let mut values = Values::new();
        let halo = if fault == Fault::Halo { self.of_zeros(addresses) } else { Vec::new() };
        for (place, operation) in self.operations.iter().enumerate() {
            let take = |tensor: &Tensor, values: &mut Values| -> Vec<f32> {
                values.entry(tensor.id).or_insert_with(|| tensor.load(addresses[&tensor.id])).clone()
            };
            match operation {
                Operation::Convolution { kind, x, w, y, stride, pad } => {
                    let into = match *kind {
                        FORWARD => y,
                        BACKWARD_DATA => x,
                        _ => w,
                    };
                    let mut of = |t: &Tensor| if t.id == into.id { vec![0.0; t.len()] } else { take(t, &mut values) };
                    let (mut vx, mut vw, mut vy) = (of(x), of(w), of(y));
                    if *kind == FORWARD && !halo.is_empty() {
                        for_each_padded((x, w, y), *stride, *pad, |c, at_w, at_y| vy[at_y] += halo[c] * vw[at_w]);
                    }
                    for_each_product((x, w, y), *stride, *pad, |at_x, at_w, at_y| match *kind {
                        FORWARD => vy[at_y] += vx[at_x] * vw[at_w],
                        BACKWARD_DATA => vx[at_x] += vy[at_y] * vw[at_w],
                        _ => vw[at_w] += vx[at_x] * vy[at_y],
                    });
                    let mut result = match *kind {
                        FORWARD => vy,
                        BACKWARD_DATA => vx,
                        _ => vw,
                    };
                    if fault == Fault::Result {
                        result.iter_mut().for_each(|v| *v += 1.0);
                    }
                    into.keep(result, &mut values, addresses);
                }
                Operation::Pointwise { mode, x, other, y } => {
                    let a = take(x, &mut values);
                    let b = other.as_ref().map(|other| (other, take(other, &mut values)));
                    let second = |[n, c, h, w]: [usize; 4]| {
                        let (tensor, values) = b.as_ref().expect("has a second operand");
                        let [en, ec, eh, ew] = tensor.extents;
                        values[tensor.at([n.min(en - 1), c.min(ec - 1), h.min(eh - 1), w.min(ew - 1)])]
                    };
                    let result = y.each().map(|at| {
                        // A unary function has no second operand to ask for.
                        pointwise(*mode, a[x.at(at)], if b.is_some() { second(at) } else { 0.0 })
                    });
                    y.keep(result.collect(), &mut values, addresses);
                }
                Operation::Sums { x, sum, squares } => {
                    let v = take(x, &mut values);
                    let per_channel = |f: fn(f32) -> f32| -> Vec<f32> {
                        let mut sums = vec![0.0f32; x.extents[1]];
                        x.each().for_each(|at| sums[at[1]] += f(v[x.at(at)]));
                        if fault == Fault::Sums && place + 1 == self.operations.len() {
                            sums.iter_mut().for_each(|v| *v *= 2.0);
                        }
                        sums
                    };
                    sum.keep(per_channel(|v| v), &mut values, addresses);
                    if let Some(squares) = squares {
                        squares.keep(per_channel(|v| v * v), &mut values, addresses);
                    }
                }
            }
        }
    }
}

/// A pointwise function by cuDNN's number.
fn pointwise(mode: i64, v: f32, second: f32) -> f32 {
    match mode {
        0 => v + second,
        1 => v * second,
        9 => v - second,
        21 => v,
        100 => v.max(0.0),
        200 if v > 0.0 => second,
        200 => 0.0,
        other => panic!("mode {other} is not known"),
    }
}

/// Every product of a convolution, by the dense indices of its three elements.
fn for_each_product(
    tensors: (&Tensor, &Tensor, &Tensor),
    stride: [i64; 2],
    pad: [i64; 2],
    mut product: impl FnMut(usize, usize, usize),
) {
    let x = tensors.0;
    for_each_tap(tensors, stride, pad, |[n, c, h, v], at_w, at_y| {
        if h >= 0 && v >= 0 && h < x.extents[2] as i64 && v < x.extents[3] as i64 {
            product(x.at([n as usize, c as usize, h as usize, v as usize]), at_w, at_y);
        }
    });
}

/// Every product with padding, by the channel of the input and the dense indices of the two others.
fn for_each_padded(
    tensors: (&Tensor, &Tensor, &Tensor),
    stride: [i64; 2],
    pad: [i64; 2],
    mut product: impl FnMut(usize, usize, usize),
) {
    let x = tensors.0;
    for_each_tap(tensors, stride, pad, |[_, c, h, v], at_w, at_y| {
        if h < 0 || v < 0 || h >= x.extents[2] as i64 || v >= x.extents[3] as i64 {
            product(c as usize, at_w, at_y);
        }
    });
}

/// Every tap of every output: where it lies in the input, inside or not, and the dense indices of the two others.
fn for_each_tap(
    (x, w, y): (&Tensor, &Tensor, &Tensor),
    stride: [i64; 2],
    pad: [i64; 2],
    mut tap: impl FnMut([i64; 4], usize, usize),
) {
    let [_, group_c, r, s] = w.extents;
    let groups = x.extents[1] / group_c;
    let group_k = w.extents[0] / groups;
    for [n, k, p, q] in y.each() {
        for c in 0..group_c {
            for (i, j) in (0..r).flat_map(|i| (0..s).map(move |j| (i, j))) {
                let h = p as i64 * stride[0] - pad[0] + i as i64;
                let v = q as i64 * stride[1] - pad[1] + j as i64;
                let from = [n as i64, (k / group_k * group_c + c) as i64, h, v];
                tap(from, w.at([k, c, i, j]), y.at([n, k, p, q]));
            }
        }
    }
}

fn round(dtype: i64, v: f32) -> f32 {
    match dtype {
        0 => v,
        9 => {
            let bits = v.to_bits();
            if v.is_nan() { v } else { f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000) }
        }
        2 => half_value(half_bits(v)),
        other => panic!("type {other} is not known"),
    }
}

/// The nearest half, ties to even.
fn half_bits(v: f32) -> u16 {
    let sign = (v.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = v.abs();
    let bits = match magnitude {
        m if m.is_nan() => 0x7e00,
        m if m >= 65_520.0 => 0x7c00,
        m if m < 6.103_515_6e-5 => (m * 16_777_216.0).round_ties_even() as u16,
        m => {
            let bits = m.to_bits() - (112 << 23);
            ((bits + 0xfff + (bits >> 13 & 1)) >> 13) as u16
        }
    };
    sign | bits
}

fn half_value(bits: u16) -> f32 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => mantissa / 16_777_216.0,
        31 => if mantissa == 0.0 { f32::INFINITY } else { f32::NAN },
        e => (1.0 + mantissa / 1024.0) * 2.0f32.powi(e - 15),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

/// # Safety
/// There is an element of this type at `address`, so many elements on.
unsafe fn load(dtype: i64, address: u64, offset: usize) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            0 => *(address as *const f32).add(offset),
            9 => f32::from_bits(u32::from(*(address as *const u16).add(offset)) << 16),
            _ => half_value(*(address as *const u16).add(offset)),
        }
    }
}

/// # Safety
/// As [`load`].
unsafe fn store(dtype: i64, address: u64, offset: usize, v: f32) {
    // SAFETY: the caller's promise.
    unsafe {
        match dtype {
            0 => *(address as *mut f32).add(offset) = v,
            9 => *(address as *mut u16).add(offset) = (v.to_bits() >> 16) as u16,
            _ => *(address as *mut u16).add(offset) = half_bits(v),
        }
    }
}
