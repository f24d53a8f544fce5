//! Names, shapes and order of all tensors are torchvision's. The digests come from `golden/torchvision_keys.py`.

use resnet_core::zoo;
use sha2::{Digest, Sha256};

#[test]
fn names_and_shapes_are_torchvisions() {
    let golden = include_str!("golden/torchvision_keys.txt");
    let mut n_checked = 0;
    for line in golden.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [arch, n_tensors, digest] = fields[..] else { panic!("three fields wanted: {line}") };
        let graph = zoo::arch(arch).and_then(|s| s.build()).expect("builds");
        let listing: Vec<String> = graph
            .params()
            .iter()
            .map(|p| {
                let extents: Vec<String> = p.shape.iter().map(usize::to_string).collect();
                format!("{} {}\n", p.name, extents.join(","))
            })
            .collect();
        assert_eq!(listing.len().to_string(), n_tensors, "{arch}");
        let found: String =
            Sha256::digest(listing.concat()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{arch}: the list begins\n{}", listing[..listing.len().min(20)].concat());
        n_checked += 1;
    }
    assert_eq!(n_checked, 10);
}
