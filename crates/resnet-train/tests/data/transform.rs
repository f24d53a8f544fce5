//! The laws of the random transforms, over many draws.

use std::collections::HashMap;

use proptest::prelude::*;
use resnet_core::rng::{Purpose, Stream};
use resnet_train::data::transform::{Erase, RandomResizedCrop, Scratch};
use resnet_train::data::{Picture, Pipeline, Transform};

/// A picture whose bytes differ from black and, the first 251, from each other.
fn distinct(height: usize, width: usize, channels: usize) -> Picture {
    let mut picture = Picture::new(height, width, channels);
    for (i, byte) in picture.pixels.iter_mut().enumerate() {
        *byte = (i % 251) as u8 + 1;
    }
    picture
}

fn apply(step: Transform, picture: &Picture, index: u64) -> Picture {
    let mut picture = picture.clone();
    let mut stream = Stream::new(3, Purpose::Augment, 0, index);
    Pipeline::new(vec![step]).unwrap().apply(&mut picture, &mut Scratch::default(), &mut stream).unwrap();
    picture
}

/// `F.pad(picture, padding)` and then the window at `(top, left)`, pixel by pixel.
fn padded_window(picture: &Picture, padding: usize, top: usize, left: usize) -> Picture {
    let mut out = Picture::new(picture.height, picture.width, picture.channels);
    for y in 0..picture.height {
        for x in 0..picture.width {
            let (Some(from_y), Some(from_x)) =
                ((y + top).checked_sub(padding), (x + left).checked_sub(padding))
            else {
                continue;
            };
            if from_y < picture.height && from_x < picture.width {
                for c in 0..picture.channels {
                    out.pixels[(y * picture.width + x) * picture.channels + c] =
                        picture.pixels[(from_y * picture.width + from_x) * picture.channels + c];
                }
            }
        }
    }
    out
}

#[test]
fn pad_crop_takes_every_window_equally_often() {
    let picture = distinct(4, 5, 3);
    let padding = 2;
    let windows: HashMap<Vec<u8>, (usize, usize)> = (0..5)
        .flat_map(|top| (0..5).map(move |left| (top, left)))
        .map(|(top, left)| (padded_window(&picture, padding, top, left).pixels, (top, left)))
        .collect();
    assert_eq!(windows.len(), 25);
    let n = 25_000;
    let mut counts = HashMap::new();
    for index in 0..n {
        let out = apply(Transform::PadCrop { padding }, &picture, index);
        *counts.entry(windows[&out.pixels]).or_insert(0u32) += 1;
    }
    let chi2: f64 = counts.values().map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0).sum();
    assert_eq!(counts.len(), 25);
    assert!(chi2 < 60.0, "chi² of 24 degrees of freedom: {chi2}"); // exceeded with probability 6e-5
}

#[test]
fn padding_beyond_the_picture_is_all_black_at_the_edges() {
    let picture = distinct(1, 1, 1);
    let n_black =
        (0..900).filter(|&i| apply(Transform::PadCrop { padding: 1 }, &picture, i).pixels == [0]).count();
    assert!((740..860).contains(&n_black), "{n_black} of 900 black, 800 expected"); // 6 standard deviations
}

#[test]
fn flips_happen_as_often_as_asked() {
    let picture = distinct(2, 3, 1);
    let flipped = apply(Transform::HorizontalFlip { probability: 1.0 }, &picture, 0);
    assert_eq!(flipped.pixels, [3, 2, 1, 6, 5, 4]);
    let count = |probability| {
        (0..10_000)
            .filter(|&i| apply(Transform::HorizontalFlip { probability }, &picture, i) == flipped)
            .count()
    };
    assert_eq!((count(0.0), count(1.0)), (0, 10_000));
    assert!((4_700..5_300).contains(&count(0.5))); // 6 standard deviations
}

/// Erases one rectangle of the allowed size and nothing else.
#[test]
fn erasing_fills_one_rectangle() {
    let picture = Picture { pixels: vec![1; 32 * 24 * 3], ..Picture::new(32, 24, 3) };
    let mut n_erased = 0;
    for index in 0..2_000 {
        let out = apply(Transform::Erase(Erase::new(0.25, vec![7, 8, 9])), &picture, index);
        let erased: Vec<usize> = (0..32 * 24).filter(|p| out.pixels[3 * p..3 * p + 3] == [7, 8, 9]).collect();
        let intact = (0..32 * 24).filter(|p| out.pixels[3 * p..3 * p + 3] == [1; 3]).count();
        assert_eq!(erased.len() + intact, 32 * 24);
        let (Some(first), Some(last)) = (erased.first(), erased.last()) else { continue };
        n_erased += 1;
        let (height, width) = (last / 24 - first / 24 + 1, last % 24 - first % 24 + 1);
        assert_eq!(height * width, erased.len(), "not a rectangle");
        // Each side is rounded by at most half a pixel.
        let (h, w) = (height as f64, width as f64);
        let area = 32.0 * 24.0;
        assert!((h - 0.5) * (w - 0.5) <= 0.33 * area && (h + 0.5) * (w + 0.5) >= 0.02 * area, "{h}×{w}");
        assert!((h - 0.5) / (w + 0.5) <= 3.3 && (h + 0.5) / (w - 0.5) >= 0.3, "{h}×{w}");
    }
    assert!((380..620).contains(&n_erased), "{n_erased} of 2000 erased, 500 expected"); // 6 standard deviations
}

/// A ramp survives bilinear resizing, so the ends of the result tell which window was taken.
#[test]
fn random_resized_crops_cover_the_picture() {
    let mut picture = Picture::new(64, 128, 1);
    for (i, byte) in picture.pixels.iter_mut().enumerate() {
        *byte = (i % 128) as u8;
    }
    let op = RandomResizedCrop::new(16, 16);
    let (mut leftmost, mut rightmost) = (255, 0);
    for index in 0..1_000 {
        let out = apply(Transform::RandomResizedCrop(op), &picture, index);
        assert_eq!((out.height, out.width, out.pixels.len()), (16, 16, 256));
        let row = &out.pixels[..16];
        assert!(row.is_sorted() && out.pixels.chunks(16).all(|r| r == row));
        (leftmost, rightmost) = (leftmost.min(row[0]), rightmost.max(row[15]));
        // The area bounds the width: at most √(1·64·128·4/3) = 104.5 columns, at least √(0.08·64·128·3/4) = 22.2.
        let spread = row[15] - row[0];
        assert!((17..=105).contains(&spread), "{spread}");
    }
    assert!(leftmost <= 3 && rightmost >= 124, "{leftmost} to {rightmost}");
}

/// No window of the whole area and an allowed aspect fits 10×100: as in torchvision, the middle 10·4/3 ≈ 13 columns are taken.
#[test]
fn a_crop_that_never_fits_is_the_largest_allowed_one() {
    let picture = distinct(10, 100, 1);
    let op = RandomResizedCrop { area: (1.0, 1.0), ..RandomResizedCrop::new(10, 13) };
    let wanted: Vec<u8> = picture.pixels.chunks(100).flat_map(|row| &row[43..56]).copied().collect(); // (100 − 13) / 2 = 43
    assert_eq!(apply(Transform::RandomResizedCrop(op), &picture, 0).pixels, wanted);
}

#[test]
fn senseless_options_are_refused() {
    let bad = [
        Transform::Resize { height: 1 << 20, width: 1 },
        Transform::ResizeShorter { size: 0 },
        Transform::CenterCrop { height: 3, width: 0 },
        Transform::PadCrop { padding: usize::MAX },
        Transform::HorizontalFlip { probability: 1.5 },
        Transform::HorizontalFlip { probability: f32::NAN },
        Transform::Erase(Erase { area: (0.5, 0.1), ..Erase::new(0.5, vec![0]) }),
        Transform::Erase(Erase::new(0.5, vec![])),
        Transform::RandomResizedCrop(RandomResizedCrop {
            aspect: (0.0, 1.0),
            ..RandomResizedCrop::new(8, 8)
        }),
        Transform::RandomResizedCrop(RandomResizedCrop {
            area: (0.5, f64::INFINITY),
            ..RandomResizedCrop::new(8, 8)
        }),
    ];
    for step in bad {
        let text = format!("{step:?}");
        assert!(Pipeline::new(vec![step]).is_err(), "{text}");
    }
}

proptest! {
    /// No size makes a transform panic, and each keeps the size it promises.
    #[test]
    fn every_size_works(
        h in 1usize..40, w in 1usize..40, c in prop::sample::select(vec![1usize, 3]),
        height in 1usize..40, width in 1usize..40, padding in 0usize..50, seed: u64,
    ) {
        let steps = [
            Transform::Resize { height, width },
            Transform::ResizeShorter { size: height },
            Transform::CenterCrop { height, width },
            Transform::PadCrop { padding },
            Transform::RandomResizedCrop(RandomResizedCrop::new(height, width)),
            Transform::HorizontalFlip { probability: 0.5 },
            Transform::Erase(Erase::new(1.0, vec![1])),
        ];
        for step in steps {
            let wanted = step.output(Some((h, w)));
            let out = apply(step, &Picture::new(h, w, c), seed);
            prop_assert_eq!(Some((out.height, out.width)), wanted);
            prop_assert_eq!(out.pixels.len(), out.height * out.width * c);
        }
    }

    /// Weights sum to one up to rounding: a flat picture stays flat.
    #[test]
    fn a_flat_picture_stays_flat(h in 1usize..60, w in 1usize..60, height in 1usize..60, width in 1usize..60, byte: u8) {
        let flat = Picture { pixels: vec![byte; h * w], ..Picture::new(h, w, 1) };
        let out = apply(Transform::Resize { height, width }, &flat, 0);
        prop_assert!(out.pixels.iter().all(|&b| b == byte));
    }
}
