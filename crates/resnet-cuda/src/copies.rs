//! Copies of a convolution's weights in the form that tensor cores want: narrow, channels filled up, for one side of the product.
//!
//! The first convolution that reads a buffer makes the copy; from then on [`update`](crate::ops::update) writes it in the same pass as
//! the weights, so no step arranges weights again, in training or in inference. Whoever else writes to the buffer gives the copy up.

use std::sync::{Mutex, MutexGuard, PoisonError};

use resnet_core::Result;
use resnet_core::op::Conv2d;

use crate::buffer::Buffer;
use crate::choice::ways::Way;
use crate::engine::Engine;
use crate::machine::Memory;
use crate::tensor::{Element, Step, backward_data, forward};

/// What a copy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// `[k][taps][c]`, rows of whole vectors.
    Forward,
    /// `[c][taps][k]`, alike.
    BackwardData,
}

/// What a copy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) element: Element,
    pub(crate) k: usize,
    pub(crate) taps: usize,
    pub(crate) c: usize,
}

impl Form {
    pub(crate) fn of(op: &Conv2d, element: Element) -> Self {
        Self { element, k: op.k(), taps: op.r() * op.s(), c: op.c() }
    }

    /// Elements of a row, filled up.
    pub(crate) fn padded(&self, side: Side) -> usize {
        self.element.padded(if side == Side::Forward { self.c } else { self.k })
    }

    fn bytes(&self, side: Side) -> usize {
        let rows = if side == Side::Forward { self.k } else { self.c };
        rows * self.taps * self.padded(side) * self.element.bytes()
    }
}

/// One copy.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) form: Form,
    pub(crate) memory: Memory,
}

/// The copies of one buffer, by side. Behind a lock, because a convolution that only reads the weights makes them.
#[derive(Debug, Default)]
pub(crate) struct Copies(Mutex<[Option<Copy>; 2]>);

impl Copies {
    fn lock(&self) -> MutexGuard<'_, [Option<Copy>; 2]> {
        // Nothing that can panic runs under the lock, so a poisoned lock guards a sound state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, side: Side) -> Option<Copy> {
        self.lock()[side as usize].clone()
    }

    /// Whether there was one.
    pub(crate) fn forget(&self) -> bool {
        let gone = std::mem::take(&mut *self.lock());
        gone.iter().any(Option::is_some)
    }
}

/// What this way of a convolution keeps of its weights from step to step; `None` if it reads them as they are, or makes its own.
pub(crate) fn kept(way: &Way, op: &Conv2d, side: Side) -> Option<(Element, Side)> {
    match way {
        Way::Tensor(element, _) if element.supports(op) => Some((*element, side)),
        // cuDNN reads weights in one order, whatever the direction.
        Way::Cudnn(plan) => Element::of_narrow(op.dtype())
            .filter(|element| op.groups() == 1 && plan.op.c() == element.padded(op.c()))
            .map(|element| (element, Side::Forward)),
        Way::Tensor(..) | Way::Simt => None,
    }
}

/// The copy that this way of a convolution reads its weights from; 0 if it makes its own.
pub(crate) fn for_way(engine: &mut Engine, way: &Way, op: &Conv2d, side: Side, w: &Buffer) -> Result<u64> {
    match kept(way, op, side) {
        Some((element, side)) => of_weights(engine, op, element, side, w),
        None => Ok(0),
    }
}

/// Bytes of the largest copy that any way keeps of a convolution's weights.
pub(crate) fn most_bytes(op: &Conv2d) -> usize {
    let element = Element::of_narrow(op.dtype()).unwrap_or(Element::Tf32);
    let form = Form::of(op, element);
    form.bytes(Side::Forward).max(form.bytes(Side::BackwardData))
}

/// Makes a copy of weights.
pub(crate) fn pack(
    engine: &mut Engine,
    op: &Conv2d,
    element: Element,
    side: Side,
    (from, to): (u64, u64),
) -> Result<()> {
    let Step { unit, launch } = match side {
        Side::Forward => forward::pack(op, element, from, to),
        Side::BackwardData => backward_data::pack(op, element, from, to),
    };
    engine.load(unit.name, || unit.clone())?;
    engine.machine.launch(&launch)
}

/// The address of the copy of these weights, which is made if there is none. 0 where none can be made: while a step is recorded,
/// and where another form of the same weights is in use.
fn of_weights(engine: &mut Engine, op: &Conv2d, element: Element, side: Side, w: &Buffer) -> Result<u64> {
    let form = Form::of(op, element);
    match w.copies().get(side) {
        Some(copy) if copy.form == form => return Ok(copy.memory.address()),
        Some(_) => return Ok(0),
        None if engine.recording => return Ok(0),
        None => {}
    }
    let memory = engine.machine.alloc(form.bytes(side))?;
    let (from, to) = (w.memory().address(), memory.address());
    pack(engine, op, element, side, (from, to))?;
    w.copies().lock()[side as usize] = Some(Copy { form, memory });
    Ok(to)
}
