//! One convolution with the tensors that it has around it in a network, called as a training step calls it.

use resnet_core::op::{Conv2d, Op};
use resnet_core::{Accumulate, Backend, GradNorm, GradOut, GradSource, GradSums, Result, Source, TensorDesc};

use crate::{empty, random};

/// The three directions of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `y` from `x`, with batch sums.
    Forward,
    /// `dx` from `dy`, masked and summed.
    BackwardData,
    /// `dw` from `x` and `dy`.
    BackwardWeight,
}

impl Direction {
    /// All of them.
    pub const ALL: [Direction; 3] = [Direction::Forward, Direction::BackwardData, Direction::BackwardWeight];

    /// The name of a bench.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::BackwardData => "backward_data",
            Direction::BackwardWeight => "backward_weight",
        }
    }
}

/// A convolution with a normalisation before and after it; before one of pictures there is none.
pub struct Layer<Buf> {
    op: Conv2d,
    x: Buf,
    x_affine: Buf,
    x_moments: Buf,
    x_sums: Buf,
    dx: Buf,
    w: Buf,
    dw: Buf,
    y: Buf,
    y_coeffs: Buf,
    y_sums: Buf,
    dy: Buf,
}

impl<Buf> Layer<Buf> {
    /// Allocates and fills the tensors.
    ///
    /// # Errors
    /// The backend has no memory.
    pub fn new<B: Backend<Buffer = Buf>>(backend: &mut B, op: &Conv2d) -> Result<Self> {
        backend.prepare(&[Op::Conv2d(*op), Op::Conv2dBackwardData(*op), Op::Conv2dBackwardWeight(*op)])?;
        Ok(Self {
            op: *op,
            x: random(backend, &op.x_desc(), 1.0)?,
            x_affine: random(backend, &TensorDesc::affine(op.c()), 1.0)?,
            x_moments: random(backend, &TensorDesc::moments(op.c()), 1.0)?,
            x_sums: empty(backend, &TensorDesc::sums(op.c()))?,
            dx: empty(backend, &op.x_desc())?,
            w: random(backend, &op.w_desc(), 0.05)?,
            dw: empty(backend, &op.w_desc())?,
            y: random(backend, &op.y_desc(), 1.0)?,
            y_coeffs: random(backend, &TensorDesc::coeffs(op.k()), 1.0)?,
            y_sums: empty(backend, &TensorDesc::sums(op.k()))?,
            dy: random(backend, &op.y_desc(), 1.0)?,
        })
    }

    /// Computes one direction.
    ///
    /// # Errors
    /// What the backend refuses.
    pub fn run<B: Backend<Buffer = Buf>>(&mut self, backend: &mut B, direction: Direction) -> Result<()> {
        let op = &self.op;
        let normalised = op.c() > 3;
        let affine = normalised.then_some(&self.x_affine);
        let x = Source { affine, relu: normalised, ..Source::raw(&self.x) };
        if direction == Direction::Forward {
            return backend.conv2d(op, x, &self.w, None, &mut self.y, Some(&mut self.y_sums));
        }
        let dy = GradSource { dz: &self.dy, norm: Some(GradNorm { coeffs: &self.y_coeffs, y: &self.y }) };
        if direction == Direction::BackwardWeight {
            return backend.conv2d_backward_weight(op, x, dy, &mut self.dw, None, Accumulate::Set);
        }
        let sums = GradSums { y: &self.x, moments: &self.x_moments, sums: &mut self.x_sums };
        let dx = GradOut { mask: Some(x), sums: [Some(sums), None], ..GradOut::set(&mut self.dx) };
        backend.conv2d_backward_data(op, dy, &self.w, dx)
    }
}
