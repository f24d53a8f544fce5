//! What is found in a set with mistakes.

use resnet_train::data::{OpenOptions, Survey, open};

#[test]
fn mistakes_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, level: u8, size: u32| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_pixel(size, 2, image::Luma([level])).save(&path).unwrap();
    };
    write("train/a/1.png", 1, 3);
    write("train/a/2.png", 2, 3);
    write("train/b/3.png", 2, 3); // as 2, and of another class
    write("train/b/4.bmp", 4, 5);
    write("test/b/5.png", 4, 5); // as 4, in another format
    write("test/a/6.png", 4, 6); // another size is another picture
    std::fs::write(dir.path().join("test/a/7.png"), "text").unwrap();
    let data = open(dir.path(), &OpenOptions::default()).unwrap();
    let mut steps = vec![];
    let found = Survey::of(&data, |done| steps.push(done)).unwrap();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((found.train.per_class, found.test.per_class.clone()), (vec![2, 2], vec![2, 1]));
    assert_eq!(found.train.sizes.into_iter().collect::<Vec<_>>(), [((2, 3), 3), ((2, 5), 1)]);
    assert_eq!(found.test.broken.len(), 1);
    assert!(found.test.broken[0].0.contains("7.png") && found.test.broken[0].1.contains("text"));
    assert_eq!(found.duplicates.len(), 2);
    let (twice, leak) = (&found.duplicates[0], &found.duplicates[1]);
    assert!(
        twice.is_contradiction() && !twice.is_leak() && twice.pictures[1].1.contains("3.png"),
        "{twice:?}"
    );
    assert!(leak.is_leak() && !leak.is_contradiction() && leak.pictures[1].1.contains("5.png"), "{leak:?}");
}
