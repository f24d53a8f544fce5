//! What lies in memory: layers become steps, and normalisation, addition and ReLU become part of the next read.

use super::freeze::needs_gradient;
use super::{
    Fusion, LowerOptions, Mode, NormParams, Program, Read, Step, TableId, TensorId, TensorInfo, named,
};
use crate::graph::{Graph, Layer, NodeId, PoolLayer, Shape};
use crate::op::{AvgPool, BatchNorm, Combine, Conv2d, MaxPool, Op};
use crate::{Error, Result, TensorDesc};

/// A value as it can be read, by position in [`Lowered::exprs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExprId(pub(super) usize);

/// A value as it can be read: what lies in memory and what is applied to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expr {
    pub(super) raw: TensorId,
    pub(super) norm: Option<NormIdx>,
    pub(super) residual: Option<(TensorId, Option<NormIdx>)>,
    pub(super) relu: bool,
}

impl Expr {
    fn plain(raw: TensorId) -> Self {
        Self { raw, norm: None, residual: None, relu: false }
    }

    pub(super) fn is_plain(&self) -> bool {
        *self == Self::plain(self.raw)
    }

    /// The tensors in it: of the main branch, of the shortcut.
    pub(super) fn tensors(&self) -> impl Iterator<Item = TensorId> + use<> {
        [Some(self.raw), self.residual.map(|(t, _)| t)].into_iter().flatten()
    }

    /// The normalisations in it: of the main branch, of the shortcut.
    pub(super) fn norms(&self) -> [Option<NormIdx>; 2] {
        [self.norm, self.residual.and_then(|(_, n)| n)]
    }
}

/// A normalisation, by position in [`Lowered::norms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NormIdx(pub(super) usize);

/// A normalisation and its buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm {
    pub(super) op: BatchNorm,
    pub(super) y: TensorId,
    pub(super) params: NormParams,
    pub(super) affine: TableId,
    /// Absent where running statistics normalise.
    pub(super) moments: Option<TableId>,
    /// Whether γ and β are trained.
    pub(super) trained: bool,
}

/// The forward program and what the backward pass needs to know of it.
pub(super) struct Lowered {
    pub(super) program: Program,
    pub(super) exprs: Vec<Expr>,
    pub(super) norms: Vec<Norm>,
    /// The value each forward step reads, where it reads one.
    pub(super) step_reads: Vec<Option<ExprId>>,
    /// Whether each parameter is trained.
    pub(super) trained: Vec<bool>,
}

struct Builder<'a> {
    graph: &'a Graph,
    options: LowerOptions,
    prefers_materialised: &'a dyn Fn(&Op) -> bool,
    n_readers: Vec<usize>,
    /// Nodes of several readers whose value must lie in memory.
    must_store: Vec<bool>,
    /// Nodes that some step already evaluates while loading; then all of its readers do.
    read_virtually: Vec<bool>,
    /// Nodes whose value has a gradient that something trained needs.
    needs_gradient: Vec<bool>,
    values: Vec<ExprId>,
    out: Lowered,
}

pub(super) fn lower(
    graph: &Graph,
    options: LowerOptions,
    prefers_materialised: &dyn Fn(&Op) -> bool,
) -> Result<Lowered> {
    if options.batch == 0 {
        return Err(Error::invalid("batch", "a batch of 0 pictures; at least 1 is needed"));
    }
    let trained = options.freeze.trained(graph);
    let mut builder = Builder {
        graph,
        options,
        prefers_materialised,
        n_readers: graph.n_readers(),
        must_store: must_store(graph),
        read_virtually: vec![false; graph.nodes().len()],
        needs_gradient: needs_gradient(graph, options.input_gradient, &trained),
        values: vec![],
        out: Lowered {
            program: Program {
                options,
                tensors: vec![],
                tables: vec![],
                forward: vec![],
                backward: vec![],
                input: TensorId(0),
                logits: TensorId(0),
                dlogits: None,
                dinput: None,
                stored: vec![],
            },
            exprs: vec![],
            norms: vec![],
            step_reads: vec![],
            trained,
        },
    };
    for i in 0..graph.nodes().len() {
        let id = NodeId(i);
        let value = named(graph, id, builder.node(id))?;
        builder.values.push(value);
        if options.fusion == Fusion::None {
            builder.store(id)?;
        }
    }
    let logits = builder.store(graph.output())?;
    let mut lowered = builder.out;
    lowered.program.logits = logits;
    lowered.program.stored =
        builder.values.iter().map(|v| lowered.exprs[v.0]).map(|e| e.is_plain().then_some(e.raw)).collect();
    Ok(lowered)
}

/// A value with several readers can stay unwritten only if each of them evaluates it while loading.
/// Otherwise a normalisation would stand in two expressions, and its sums would have to be taken twice.
fn must_store(graph: &Graph) -> Vec<bool> {
    let mut any_elementwise = vec![false; graph.nodes().len()];
    for node in graph.nodes() {
        if matches!(node.layer, Layer::Norm(_) | Layer::Relu | Layer::Add) {
            for input in &node.inputs {
                any_elementwise[input.0] = true;
            }
        }
    }
    graph.n_readers().iter().zip(any_elementwise).map(|(n, elementwise)| *n > 1 && elementwise).collect()
}

impl Builder<'_> {
    fn node(&mut self, id: NodeId) -> Result<ExprId> {
        let graph = self.graph;
        let node = graph.node(id);
        match node.layer {
            Layer::Input => {
                let t = self.tensor(&node.name, self.activation(node.shape));
                self.out.program.input = t;
                Ok(self.plain(t))
            }
            Layer::Conv(l) => {
                let op = self.conv(node.inputs[0], l.out, l.kernel, l.stride, l.padding, l.groups)?;
                self.conv_step(id, op)
            }
            Layer::Linear { out, .. } => {
                let op = self.conv(node.inputs[0], out, (1, 1), 1, Default::default(), 1)?;
                self.conv_step(id, op)
            }
            Layer::Subsample { stride, out, .. } => {
                let op = self.conv(node.inputs[0], out, (1, 1), stride, Default::default(), 1)?;
                self.conv_step(id, op)
            }
            Layer::Norm(l) => {
                let shape = node.shape;
                let m = self.options.batch * shape.h * shape.w;
                let op = BatchNorm::new(shape.c, m, l.eps, l.momentum, l.unbiased)?;
                self.norm(id, op)
            }
            Layer::Relu => {
                let input = node.inputs[0];
                let e = self.extendable(input)?;
                Ok(self.expr(Expr { relu: true, ..e }))
            }
            Layer::Add => {
                let a = self.addend(node.inputs[0])?;
                let b = self.addend(node.inputs[1])?;
                Ok(self.expr(Expr { raw: a.raw, norm: a.norm, residual: Some((b.raw, b.norm)), relu: false }))
            }
            Layer::MaxPool(l, pad) => {
                let op = MaxPool::new(
                    self.extents(node.inputs[0]),
                    l.window,
                    l.stride,
                    l.padding,
                    pad,
                    self.options.dtype,
                )?;
                let read = self.source(node.inputs[0], &Op::MaxPool(op))?;
                let y = self.tensor(&node.name, op.y_desc());
                let index = (self.options.mode == Mode::Train && self.needs_gradient[node.inputs[0].0])
                    .then(|| self.tensor(&format!("{}.index", node.name), op.index_desc()));
                let x = self.read(read);
                self.step(Step::MaxPool { op, x, y, index, sums: None }, Some(read));
                Ok(self.plain(y))
            }
            Layer::AvgPool(l) => self.avg_pool(id, l),
            Layer::GlobalAvgPool => {
                let Shape { h, w, .. } = graph.node(node.inputs[0]).shape;
                self.avg_pool(id, PoolLayer { window: (h, w), stride: 1, padding: Default::default() })
            }
        }
    }

    fn conv_step(&mut self, id: NodeId, op: Conv2d) -> Result<ExprId> {
        let node = self.graph.node(id);
        let read = self.source(node.inputs[0], &Op::Conv2d(op))?;
        let y = self.tensor(&node.name, op.y_desc());
        let x = self.read(read);
        let (w, bias) = (node.params[0], node.params.get(1).copied());
        self.step(Step::Conv { op, x, w, bias, y, sums: None }, Some(read));
        Ok(self.plain(y))
    }

    fn avg_pool(&mut self, id: NodeId, l: PoolLayer) -> Result<ExprId> {
        let node = self.graph.node(id);
        let x = self.extents(node.inputs[0]);
        let op = AvgPool::new(x, l.window, l.stride, l.padding, self.options.dtype)?;
        let read = self.source(node.inputs[0], &Op::AvgPool(op))?;
        let y = self.tensor(&node.name, op.y_desc());
        let x = self.read(read);
        self.step(Step::AvgPool { op, x, y }, Some(read));
        Ok(self.plain(y))
    }

    fn norm(&mut self, id: NodeId, op: BatchNorm) -> Result<ExprId> {
        let node = self.graph.node(id);
        let [gamma, beta, mean, var] = node.params[..] else {
            return Err(Error::invalid(&node.name, "a normalisation has four parameters"));
        };
        let params = NormParams { gamma, beta, mean, var };
        let y = self.store(node.inputs[0])?;
        if self.options.mode == Mode::Infer || self.options.freeze.fixes_norm(id) {
            let affine = self.table(TensorDesc::affine(op.c()));
            self.step(Step::NormFrozen { op, params, affine }, None);
            return Ok(self.norm_expr(Norm { op, y, params, affine, moments: None, trained: false }));
        }
        let (y, sums) = self.sums_of(node.inputs[0], y, op.c())?;
        let moments = self.table(TensorDesc::moments(op.c()));
        let affine = self.table(TensorDesc::affine(op.c()));
        self.step(Step::Norm { op, sums, params, affine, moments }, None);
        let trained = self.out.trained[gamma.0];
        Ok(self.norm_expr(Norm { op, y, params, affine, moments: Some(moments), trained }))
    }

    fn norm_expr(&mut self, norm: Norm) -> ExprId {
        self.out.norms.push(norm);
        let idx = NormIdx(self.out.norms.len() - 1);
        self.expr(Expr { raw: norm.y, norm: Some(idx), residual: None, relu: false })
    }

    /// Has the step that writes `y` take its batch sums; a step that cannot is followed by a copy that can.
    fn sums_of(&mut self, node: NodeId, y: TensorId, c: usize) -> Result<(TensorId, TableId)> {
        let fresh = TableId(self.out.program.tables.len());
        for step in &mut self.out.program.forward {
            let (t, sums) = match step {
                Step::Conv { y, sums, .. } | Step::MaxPool { y, sums, .. } => (*y, sums),
                Step::Combine { z, sums, .. } => (*z, sums),
                _ => continue,
            };
            if t == y {
                let table = *sums.get_or_insert(fresh);
                if table == fresh {
                    self.out.program.tables.push(TensorDesc::sums(c));
                }
                return Ok((y, table));
            }
        }
        let copy = self.write_out(node, self.values[node.0])?;
        self.sums_of(node, copy, c)
    }

    /// The value of a node as a consumer that evaluates sources may read it.
    fn source(&mut self, input: NodeId, consumer: &Op) -> Result<ExprId> {
        let value = self.values[input.0];
        let e = self.out.exprs[value.0];
        // A residual costs a second read; it stays unwritten only in front of the one pool that ends the network.
        let lone_pool = matches!(consumer, Op::AvgPool(_)) && self.n_readers[input.0] == 1;
        if self.must_store[input.0]
            || (e.residual.is_some() && !lone_pool)
            || (!e.is_plain() && !self.read_virtually[input.0] && (self.prefers_materialised)(consumer))
        {
            let t = self.store(input)?;
            return Ok(self.plain(t));
        }
        self.read_virtually[input.0] = true;
        Ok(value)
    }

    /// The value of a node, ready for a ReLU to be put on top.
    fn extendable(&mut self, input: NodeId) -> Result<Expr> {
        let e = self.out.exprs[self.values[input.0].0];
        if e.is_plain() || (!e.relu && self.n_readers[input.0] == 1) {
            return Ok(e);
        }
        Ok(Expr::plain(self.store(input)?))
    }

    /// The value of a node as an operand of an addition: raw or normalised, nothing more.
    fn addend(&mut self, input: NodeId) -> Result<Expr> {
        let e = self.out.exprs[self.values[input.0].0];
        if e.is_plain() || (!e.relu && e.residual.is_none() && self.n_readers[input.0] == 1) {
            return Ok(e);
        }
        Ok(Expr::plain(self.store(input)?))
    }

    /// Makes sure a node's value lies in memory as it is.
    fn store(&mut self, node: NodeId) -> Result<TensorId> {
        let value = self.values[node.0];
        let e = self.out.exprs[value.0];
        if e.is_plain() { Ok(e.raw) } else { self.write_out(node, value) }
    }

    fn write_out(&mut self, node: NodeId, value: ExprId) -> Result<TensorId> {
        let (n, h, w, c) = self.extents(node);
        let op = Combine::new(n, h, w, c, self.options.dtype)?;
        let z = self.tensor(&self.graph.node(node).name, op.desc());
        let x = self.read(value);
        self.step(Step::Combine { op, x, z, sums: None }, Some(value));
        self.values[node.0] = self.plain(z);
        Ok(z)
    }

    fn conv(
        &self,
        input: NodeId,
        k: usize,
        kernel: (usize, usize),
        stride: usize,
        padding: crate::op::Padding,
        groups: usize,
    ) -> Result<Conv2d> {
        Conv2d::new(self.extents(input), k, kernel, stride, padding, groups, self.options.dtype)
    }

    fn extents(&self, node: NodeId) -> (usize, usize, usize, usize) {
        let Shape { c, h, w } = self.graph.node(node).shape;
        (self.options.batch, h, w, c)
    }

    fn activation(&self, Shape { c, h, w }: Shape) -> TensorDesc {
        TensorDesc::activation(self.options.dtype, self.options.batch, h, w, c)
    }

    fn tensor(&mut self, name: &str, desc: TensorDesc) -> TensorId {
        self.out.program.tensors.push(TensorInfo { name: name.into(), desc, gradient: false });
        TensorId(self.out.program.tensors.len() - 1)
    }

    fn table(&mut self, desc: TensorDesc) -> TableId {
        self.out.program.tables.push(desc);
        TableId(self.out.program.tables.len() - 1)
    }

    fn step(&mut self, step: Step, reads: Option<ExprId>) {
        self.out.program.forward.push(step);
        self.out.step_reads.push(reads);
    }

    fn expr(&mut self, e: Expr) -> ExprId {
        self.out.exprs.push(e);
        ExprId(self.out.exprs.len() - 1)
    }

    fn plain(&mut self, t: TensorId) -> ExprId {
        self.expr(Expr::plain(t))
    }

    fn read(&self, id: ExprId) -> Read {
        self.out.read(id)
    }
}

impl Lowered {
    pub(super) fn read(&self, id: ExprId) -> Read {
        let e = self.exprs[id.0];
        let affine = |n: Option<NormIdx>| n.map(|n| self.norms[n.0].affine);
        Read {
            raw: e.raw,
            affine: affine(e.norm),
            residual: e.residual.map(|(t, n)| (t, affine(n))),
            relu: e.relu,
        }
    }
}
