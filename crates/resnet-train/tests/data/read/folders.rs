//! A folder of pictures for each class.

use std::collections::BTreeMap;
use std::fs;

use resnet_train::data::{OpenOptions, Picture, Source, open};

use super::{Place, content, flat, owned, pictures, refused};

fn file(name: &str) -> Vec<u8> {
    fs::read(pictures().join(name)).unwrap()
}

#[test]
fn a_folder_per_class_with_parts() {
    let place = Place::new();
    place.write("train/cat/1.png", &flat(1)).write("train/cat/deep/er/2.PNG", &flat(2));
    place
        .write("train/dog/a.png", &flat(3))
        .write("val/dog/b.png", &flat(4))
        .write("val/cat/c.png", &flat(5));
    // What lies around in such folders.
    place
        .write("train/cat/.DS_Store", b"x")
        .write("train/dog/Thumbs.db", b"x")
        .write("train/.hidden/1.png", b"x");
    place.write("train/dog/notes.txt", b"x").write("readme.md", b"x");
    let set = place.open().unwrap();
    assert_eq!(set.classes, ["cat", "dog"]);
    assert_eq!(content(&set, set.train.as_ref()), owned(&[("cat", 1), ("cat", 2), ("dog", 3)]));
    assert_eq!(content(&set, set.test.as_ref()), owned(&[("cat", 5), ("dog", 4)]));
    assert!(set.describe().contains("parts train and validation"), "{}", set.describe());
    assert!(set.describe().contains("notes.txt"), "what is left out is said: {}", set.describe());
    assert_eq!(set.fingerprint().unwrap(), place.open().unwrap().fingerprint().unwrap());
    place.write("val/cat/c.png", &[flat(5), vec![0]].concat());
    assert_ne!(set.fingerprint().unwrap(), place.open().unwrap().fingerprint().unwrap());
}

/// `sorted(os.walk(class))` with sorted names, as torchvision lists a class: folders by their path, whatever their depth.
#[test]
fn files_are_sorted_as_torchvision_sorts_them() {
    let place = Place::new();
    for (i, name) in
        ["b.png", "a/z.png", "a-b/c.png", "a/b/d.png", "B.png", "10.png", "9.png"].iter().enumerate()
    {
        place.write(&format!("x/{name}"), &flat(i as u8)).write(&format!("y/{name}"), &flat(100));
    }
    let set = open(place.0.path(), &OpenOptions { split: 0.0, split_seed: 0 }).unwrap();
    assert_eq!((set.train.len(), set.test.len()), (14, 0));
    let names: Vec<String> = (0..7).map(|i| set.train.name(i)).collect();
    let root = place.path("x").display().to_string();
    let names: Vec<&str> = names.iter().map(|n| &n[root.len() + 1..]).collect();
    assert_eq!(names, ["10.png", "9.png", "B.png", "b.png", "a/z.png", "a-b/c.png", "a/b/d.png"]);
}

#[test]
fn a_set_without_parts_is_split_by_names() {
    let place = Place::new();
    for i in 0..40u8 {
        place.write(&format!("cat/{i}.png"), &flat(i)).write(&format!("dog/{i}.png"), &flat(100 + i));
    }
    place.write("rare/1.png", &flat(200)).write("rare/2.png", &flat(201));
    let with = |split, split_seed| open(place.0.path(), &OpenOptions { split, split_seed }).unwrap();
    let set = with(0.25, 0);
    let count = |source: &dyn Source| {
        let mut n = BTreeMap::new();
        (0..source.len()).for_each(|i| *n.entry(source.label(i)).or_insert(0) += 1);
        n.into_values().collect::<Vec<usize>>()
    };
    assert_eq!(count(set.test.as_ref()), [10, 10, 1], "every class by its share");
    assert_eq!(count(set.train.as_ref()), [30, 30, 1]);
    let both = [content(&set, set.train.as_ref()), content(&set, set.test.as_ref())].concat();
    assert_eq!(both.iter().collect::<std::collections::BTreeSet<_>>().len(), 82, "nothing is in both");
    assert_eq!(content(&set, set.test.as_ref()), content(&with(0.25, 0), with(0.25, 0).test.as_ref()));
    assert_ne!(content(&set, set.test.as_ref()), content(&set, with(0.25, 1).test.as_ref()));
    assert_eq!((with(1.0, 0).train.len(), with(1.0, 0).test.len()), (0, 82));

    // One more picture takes at most one other out of the test part.
    let before = content(&set, set.test.as_ref());
    place.write("cat/more.png", &flat(99));
    let after = with(0.25, 0);
    let after = content(&after, after.test.as_ref());
    assert!(before.iter().filter(|item| !after.contains(item)).count() <= 1);
}

#[test]
fn folders_that_are_no_set_are_refused() {
    let place = Place::new();
    place.refused(&["an empty folder", "a folder of pictures for each class"]);
    place.write("letter.doc", b"x").refused(&["letter.doc"]);
    place.write("cat/1.png", &flat(1)).refused(&["1 classes"]);
    place.write("dog/notes.txt", b"x").refused(&["dog", "without a picture", "jpg"]);
    let place = Place::new();
    place
        .write("train/cat/1.png", &flat(1))
        .write("train/dog/1.png", &flat(1))
        .write("test/cow/1.png", &flat(1));
    place.refused(&["`cow` only in the test part"]);
    refused(&place.path("absent"), &["absent", "cannot open"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    let place = Place::new();
    place.write("elsewhere/1.png", &flat(7)).write("set/a/2.png", &flat(8));
    std::os::unix::fs::symlink(place.path("elsewhere"), place.path("set/b")).unwrap();
    std::os::unix::fs::symlink(place.path("set/a"), place.path("set/a/again")).unwrap();
    std::os::unix::fs::symlink(place.path("nothing"), place.path("set/a/dead.png")).unwrap();
    let set = open(&place.path("set"), &OpenOptions { split: 0.0, split_seed: 0 }).unwrap();
    assert_eq!(content(&set, set.train.as_ref()), owned(&[("a", 8), ("b", 7)]));
    assert!(set.describe().contains("circle"), "{}", set.describe());
}

/// Real files of every kind as one set, and what becomes of broken ones among them.
#[test]
fn grey_and_colour() {
    let place = Place::new();
    place.write("a/1.jpg", &file("baseline.jpg")).write("b/1.png", &file("alpha.png"));
    let set = open(place.0.path(), &OpenOptions { split: 0.0, split_seed: 0 }).unwrap();
    let grey = set.clone().with_channels(1).unwrap();
    assert_ne!(set.fingerprint().unwrap(), grey.fingerprint().unwrap());
    let mut picture = Picture::default();
    grey.train.read(0, &mut picture).unwrap();
    assert_eq!((picture.channels, picture.pixels.len()), (1, 18 * 26));
    assert!(set.with_channels(2).unwrap_err().to_string().contains("model.channels"));
    let renamed = grey.with_classes(&["x".into(), "b".into(), "a".into()]).unwrap();
    assert_eq!((renamed.train.label(0), renamed.train.label(1)), (2, 1));
    assert!(renamed.with_classes(&["x".into(), "b".into()]).unwrap_err().to_string().contains("`a`"));
}
