//! Tables of paths and labels.

use resnet_train::data::{OpenOptions, open};

use super::{Place, content, flat, owned, refused};

#[test]
fn a_table_of_paths_and_labels() {
    let place = Place::new();
    for i in 1..5 {
        place.write(&format!("images/{i}.png"), &flat(i));
    }
    place.write(
        "all.csv",
        b"split,image,label\ntrain,images/1.png,cat\ntrain,images/2.png,dog\ntest,images/3,dog\n",
    );
    for path in [place.path("all.csv"), place.0.path().to_owned()] {
        let set = open(&path, &OpenOptions::default()).unwrap();
        assert_eq!(content(&set, set.train.as_ref()), owned(&[("cat", 1), ("dog", 2)]));
        assert_eq!(content(&set, set.test.as_ref()), owned(&[("dog", 3)]));
    }
    place.write("bare.csv", "\u{feff}images/1.png;0\nimages/4.png;2\n\n".as_bytes());
    let set = open(&place.path("bare.csv"), &OpenOptions { split: 0.0, split_seed: 0 }).unwrap();
    assert_eq!(set.classes, ["0", "1", "2"], "numbers are labels");
    assert_eq!(content(&set, set.train.as_ref()), owned(&[("0", 1), ("2", 4)]));

    for (text, parts) in [
        ("a,b\n1,2\n", ["columns", "path"]),
        ("path,label\nimages/9.png,cat\n", ["9.png", "cannot open"]),
        ("path,label\n../secret.png,cat\n", ["line 2", "stays below"]),
        ("path,label\n/etc/passwd,cat\n", ["line 2", "stays below"]),
        ("path,label\nimages/1.png,\n", ["line 2", "a path and a label"]),
        ("path,label,split\nimages/1.png,cat,often\n", ["line 2", "often"]),
    ] {
        place.write("bad.csv", text.as_bytes());
        refused(&place.path("bad.csv"), &parts);
    }
}
