//! Tensor in, logits out.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use resnet::backend::CpuBackend;
use resnet::core::rng::{Purpose, Stream};
use resnet::core::weights::{self, Entry, Metadata, Reader, Writer};
use resnet::core::zoo::{self, ResNetSpec};
use resnet::core::{Executor, LowerOptions, Params, init};

use super::{Answer, resnet};

const N: usize = 5;
const BATCH: usize = 2;
const CLASSES: usize = 7;
const C: usize = 2;
const H: usize = 12;
const W: usize = 9;

fn spec() -> ResNetSpec {
    zoo::arch("resnet8-cifar").unwrap().channels(C).size(H, W).classes(CLASSES)
}

/// Weights, the same input in both layouts, and the logits that this library computes.
struct Files {
    dir: tempfile::TempDir,
    wanted: Vec<f32>,
}

impl Files {
    fn new(metadata: &Metadata) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let graph = spec().build().unwrap();
        let mut random = Stream::new(3, Purpose::Synthetic, 0, 0);
        let mut values = init::initial_values(&graph, 3);
        for (value, param) in values.iter_mut().zip(graph.params()) {
            if param.kind.is_trainable() {
                continue;
            }
            value.iter_mut().for_each(|v| *v = 0.5 + random.f32());
        }
        let file = File::create(dir.path().join("w.safetensors")).unwrap();
        weights::write_graph(file, &graph, metadata, |id| Ok(values[id.0].as_slice().into())).unwrap();

        let nhwc: Vec<f32> = (0..N * H * W * C).map(|_| random.f32() - 0.5).collect();
        let mut nchw = vec![];
        for n in 0..N {
            for c in 0..C {
                nchw.extend((0..H * W).map(|pixel| nhwc[(n * H * W + pixel) * C + c]));
            }
        }
        write(&dir.path().join("nhwc.safetensors"), "input", &[N, H, W, C], &nhwc);
        write(&dir.path().join("nchw.safetensors"), "input", &[N, C, H, W], &nchw);

        let mut backend = CpuBackend::new(Some(1)).unwrap();
        let mut params = Params::new(&mut backend, &graph, &values, None).unwrap();
        let mut net = Executor::new(&mut backend, &graph, LowerOptions::infer(BATCH), 0.0).unwrap();
        let mut wanted = vec![];
        for part in nhwc.chunks(BATCH * H * W * C) {
            let mut x = part.to_vec();
            x.resize(BATCH * H * W * C, 0.0);
            net.load_activations(&mut backend, &x).unwrap();
            net.forward(&mut backend, &mut params).unwrap();
            wanted.extend(net.logits(&mut backend).unwrap());
        }
        wanted.truncate(N * CLASSES);
        Self { dir, wanted }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn forward(&self, input: &str, more: &[&str]) -> Answer {
        let paths = [self.path("w.safetensors"), self.path(input), self.path("y.safetensors")];
        let [w, x, y] = paths.map(|p| p.to_str().unwrap().to_owned());
        let mut args = ["forward", "--weights", &w, "--input", &x, "--output", &y, "--batch", "2"].to_vec();
        args.extend(more);
        resnet(args)
    }

    fn logits(&self) -> (Vec<usize>, Vec<f32>) {
        let mut reader = Reader::new(File::open(self.path("y.safetensors")).unwrap()).unwrap();
        let logits = reader.read("logits").unwrap();
        (logits.shape().to_vec(), logits.into_raw_vec_and_offset().0)
    }
}

fn write(path: &Path, name: &str, shape: &[usize], values: &[f32]) {
    let entries = vec![Entry::f32(name, shape)];
    let mut writer = Writer::new(File::create(path).unwrap(), entries, &Metadata::new()).unwrap();
    writer.write_f32(name, values).unwrap();
    writer.finish().unwrap().flush().unwrap();
}

#[test]
fn both_layouts_and_a_short_last_batch_give_the_library_s_logits() {
    let files = Files::new(&weights::describe(&spec()));
    for (input, layout) in [("nchw.safetensors", "nchw"), ("nhwc.safetensors", "nhwc")] {
        files.forward(input, &["--layout", layout]).done();
        let (shape, logits) = files.logits();
        assert_eq!(shape, [N, CLASSES]);
        assert_eq!(logits, files.wanted, "{layout}");
    }
}

#[test]
fn weights_without_a_description_are_known_by_their_shapes_or_by_name() {
    let files = Files::new(&Metadata::new());
    files.forward("nchw.safetensors", &[]).done();
    assert_eq!(files.logits().1, files.wanted);
    files.forward("nchw.safetensors", &["--arch", "resnet8-cifar"]).done();
    assert_eq!(files.logits().1, files.wanted);
}

#[test]
fn what_does_not_fit_is_named_with_its_file() {
    let files = Files::new(&weights::describe(&spec()));
    let other = ["--arch", "resnet20-cifar"];
    files
        .forward("nchw.safetensors", &other)
        .refused(1, &["w.safetensors", "missing", "layer1.1.conv1.weight", "more"]);
    files
        .forward("nchw.safetensors", &["--classes", "9"])
        .refused(2, &["fc.weight", "7 classes", "wants 9", "resnet train --weights"]);
    files.forward("nchw.safetensors", &["--channels", "3"]).refused(1, &["[5, 2, 12, 9]", "channels", "3"]);
    // The other layout's file is a valid tensor with 9 channels, which the weights do not have.
    files.forward("nhwc.safetensors", &[]).refused(1, &["conv1.weight"]);
    files.forward("w.safetensors", &[]).refused(1, &["no tensor `input`"]);
    files.forward("absent.safetensors", &[]).refused(1, &["absent.safetensors", "cannot open"]);

    write(&files.path("flat.safetensors"), "input", &[4], &[0.0; 4]);
    files.forward("flat.safetensors", &[]).refused(1, &["[4]", "four dimensions"]);
    let whole = std::fs::read(files.path("nchw.safetensors")).unwrap();
    std::fs::write(files.path("cut.safetensors"), &whole[..whole.len() - 4]).unwrap();
    files.forward("cut.safetensors", &[]).refused(1, &["cut.safetensors"]);
    assert!(!files.path("y.safetensors").exists(), "nothing was written");
}
