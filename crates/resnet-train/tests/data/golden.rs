//! Transforms against torchvision's and Pillow's, bit for bit. `golden/make_transforms.py` makes the files.

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
        let step = match (case.op.as_str(), case.args.as_slice()) {
            ("resize", &[height, width]) => Transform::Resize { height, width },
            ("resize-shorter", &[size]) => Transform::ResizeShorter { size },
            ("center-crop", &[height, width]) => Transform::CenterCrop { height, width },
            ("horizontal-flip", &[]) => Transform::HorizontalFlip { probability: 1.0 },
            other => panic!("no such transform: {other:?}"),
        };
        let name = format!("case {number}: {step:?} of {:?}", case.size);
        assert_eq!(step.output(Some((case.size.0, case.size.1))), Some(case.output), "{name}");
        let pipeline = Pipeline::new(vec![step]).unwrap();
        pipeline.apply(&mut picture, &mut scratch, &mut Stream::new(0, Purpose::Augment, 0, 0));
        assert_eq!((picture.height, picture.width), case.output, "{name}");
        let wanted = &golden[case.offset..case.offset + picture.pixels.len()];
        let n_wrong = picture.pixels.iter().zip(wanted).filter(|(a, b)| a != b).count();
        assert_eq!(n_wrong, 0, "{name}: {n_wrong} of {} bytes differ", wanted.len());
        n_bytes += wanted.len();
    }
    assert_eq!(n_bytes, golden.len());
}
