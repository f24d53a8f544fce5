//! Transforms against torchvision's and Pillow's. `golden/make_transforms.py` makes the files.

use resnet_core::preprocessing::{Interpolation, Preprocessing, Resize};
use resnet_core::rng::{Purpose, Stream};
use resnet_train::data::{Picture, Pipeline, Transform, sample, transform};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    op: String,
    args: Vec<usize>,
    input: String,
    size: (usize, usize, usize),
    output: (usize, usize),
    offset: usize,
}

/// The generator of the script.
fn noise(seed: u32, (height, width, channels): (usize, usize, usize)) -> Picture {
    let mut picture = Picture::new(height, width, channels);
    let mut x = seed;
    for byte in &mut picture.pixels {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (x >> 24) as u8;
    }
    picture
}

/// Moving pixels is exact. Each of the two passes of a resize rounds weights to 16 bits where Pillow has 22, and its sum to a
/// byte: at most one level off per pass.
#[test]
fn transforms_equal_torchvision() {
    let file: File = serde_json::from_str(include_str!("golden/transforms.json")).unwrap();
    let golden = include_bytes!("golden/transforms.bin");
    let sample = sample::fashion_mnist().unwrap();
    let mut scratch = transform::Scratch::default(); // shared, so that stale tables would show
    let mut n_bytes = 0;
    for (number, case) in file.cases.iter().enumerate() {
        let mut picture = noise(number as u32, case.size);
        if case.input == "sample" {
            sample.test.read(0, &mut picture).unwrap();
        }
        let sized = |p: &[usize]| Preprocessing {
            resize: Resize::ShortSide(p[0]),
            ..Preprocessing::exact(p[1], p[2], vec![0.5; case.size.2], vec![0.5; case.size.2])
        };
        let bilinear = |step| Pipeline::new(vec![step]).unwrap();
        let pipeline = match (case.op.as_str(), case.args.as_slice()) {
            ("resize", &[height, width]) => bilinear(Transform::Resize { height, width }),
            ("resize-bicubic", &[height, width]) => {
                bilinear(Transform::Resize { height, width }).interpolation(Interpolation::Bicubic)
            }
            ("resize-shorter", &[size]) => bilinear(Transform::ResizeShorter { size }),
            ("center-crop", &[height, width]) => bilinear(Transform::CenterCrop { height, width }),
            ("horizontal-flip", &[]) => bilinear(Transform::HorizontalFlip { probability: 1.0 }),
            ("evaluation-bilinear", args) => Pipeline::for_evaluation(&sized(args)).unwrap(),
            ("evaluation-bicubic", args) => {
                let p = Preprocessing { interpolation: Interpolation::Bicubic, ..sized(args) };
                Pipeline::for_evaluation(&p).unwrap()
            }
            other => panic!("no such transform: {other:?}"),
        };
        let name = format!("case {number}: {:?} of {:?}", pipeline.steps(), case.size);
        assert_eq!(pipeline.output(Some((case.size.0, case.size.1))), Some(case.output), "{name}");
        let mut stream = Stream::new(0, Purpose::Augment, 0, 0);
        pipeline.apply(&mut picture, &mut scratch, &mut stream).unwrap();
        assert_eq!((picture.height, picture.width), case.output, "{name}");
        let wanted = &golden[case.offset..case.offset + picture.pixels.len()];
        let largest = picture.pixels.iter().zip(wanted).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        let allowed = if case.op.starts_with("resize") || case.op.starts_with("evaluation") { 2 } else { 0 };
        assert!(largest <= allowed, "{name}: {largest} levels off");
        n_bytes += wanted.len();
    }
    assert_eq!(n_bytes, golden.len());
}
