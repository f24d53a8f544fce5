//! The network as a Graphviz drawing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::graph::{Graph, Layer, Node};

/// A nested box of the drawing: a stage, and in it its blocks.
#[derive(Default)]
struct Cluster {
    inner: BTreeMap<usize, (String, Cluster)>,
    nodes: Vec<usize>,
}

impl Graph {
    /// A drawing in the DOT language, for `dot -Tsvg`: one box per stage, one per residual block inside it.
    pub fn to_dot(&self) -> String {
        let mut root = Cluster::default();
        for (i, node) in self.nodes().iter().enumerate() {
            let mut cluster = &mut root;
            for group in groups(&node.name) {
                // Clusters are kept in the order of their first node.
                let known =
                    cluster.inner.iter().find(|(_, (name, _))| name == group).map(|(first, _)| *first);
                let entry = cluster.inner.entry(known.unwrap_or(i));
                cluster = &mut entry.or_insert_with(|| (group.to_owned(), Cluster::default())).1;
            }
            cluster.nodes.push(i);
        }

        let mut dot = String::from(
            "digraph network {\n  rankdir=TB;\n  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=10];\n  \
             edge [arrowsize=0.6];\n",
        );
        self.draw(&mut dot, &root, "", 1);
        for (i, node) in self.nodes().iter().enumerate() {
            for input in &node.inputs {
                line(&mut dot, 1, &format!("n{} -> n{i};", input.0));
            }
        }
        dot.push_str("}\n");
        dot
    }

    fn draw(&self, dot: &mut String, cluster: &Cluster, path: &str, depth: usize) {
        for i in &cluster.nodes {
            let node = &self.nodes()[*i];
            let label = format!("{}\\n{}", escape(&node.name), escape(&describe(node)));
            line(dot, depth, &format!("n{i} [label=\"{label}\", fillcolor=\"{}\"];", colour(&node.layer)));
        }
        for (first, (name, inner)) in &cluster.inner {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            line(dot, depth, &format!("subgraph cluster_{first}_{depth} {{"));
            line(
                dot,
                depth + 1,
                &format!("label=\"{}\"; color=\"gray\"; fontname=\"Helvetica\";", escape(&path)),
            );
            self.draw(dot, inner, &path, depth + 1);
            line(dot, depth, "}");
        }
    }
}

/// Stage and block of a layer: `layer1` and `0` of `layer1.0.conv1`. Layers outside the stages have none.
fn groups(name: &str) -> Vec<&str> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() > 2 && name.starts_with("layer") { parts[..2].to_vec() } else { vec![] }
}

/// What a layer does and the shape it leaves: `Conv2d 3×3 /2 → 64×56×56`.
fn describe(node: &Node) -> String {
    let window = |(r, s): (usize, usize), stride: usize| match stride {
        1 => format!(" {r}×{s}"),
        _ => format!(" {r}×{s} /{stride}"),
    };
    let detail = match node.layer {
        Layer::Conv(l) if l.groups > 1 => format!("{}, {} groups", window(l.kernel, l.stride), l.groups),
        Layer::Conv(l) => window(l.kernel, l.stride),
        Layer::MaxPool(l, _) | Layer::AvgPool(l) => window(l.window, l.stride),
        Layer::Subsample { stride, .. } => format!(" /{stride}"),
        _ => String::new(),
    };
    let s = node.shape;
    format!("{}{detail} → {}×{}×{}", node.layer.kind(), s.c, s.h, s.w)
}

fn colour(layer: &Layer) -> &'static str {
    match layer {
        Layer::Conv(_) | Layer::Linear { .. } => "#cfe2f3",
        Layer::Norm(_) => "#fff2cc",
        Layer::Relu => "#f4cccc",
        Layer::Add => "#d9ead3",
        Layer::MaxPool(..) | Layer::AvgPool(_) | Layer::GlobalAvgPool | Layer::Subsample { .. } => "#e6e0ec",
        Layer::Input => "#eeeeee",
    }
}

/// A quoted string of DOT knows two special characters.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn line(dot: &mut String, depth: usize, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(dot, "{:indent$}{text}", "", indent = 2 * depth);
}
