//! Files written by PyTorch and Paddle themselves (`scripts/make_containers.py`), and files that were tampered with.

use std::collections::BTreeMap;

use proptest::prelude::*;
use resnet_import::container::{Archive, Element, Format};

const CHECKPOINT: &[u8] = include_bytes!("golden/containers/checkpoint.pth");
const LEGACY: &[u8] = include_bytes!("golden/containers/checkpoint-legacy.pth");
const WHOLE_MODEL: &[u8] = include_bytes!("golden/containers/whole-model.pth");
const PADDLE_2: &[u8] = include_bytes!("golden/containers/layer-2.pdparams");
const PADDLE_4: &[u8] = include_bytes!("golden/containers/layer-4.pdparams");
const KERAS: [&[u8]; 3] = [
    include_bytes!("golden/containers/model.h5"),
    include_bytes!("golden/containers/model.weights.h5"),
    include_bytes!("golden/containers/model.keras"),
];

fn open(bytes: &[u8]) -> Archive {
    Archive::from_bytes(bytes.to_vec()).unwrap_or_else(|e| panic!("{e}"))
}

fn refusal(bytes: &[u8]) -> String {
    Archive::from_bytes(bytes.to_vec())
        .map(|a| panic!("{a:?} was accepted"))
        .unwrap_or_else(|e: resnet_import::Error| e.to_string())
}

fn floats(archive: &mut Archive) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let indices = (0..archive.entries().len()).filter(|i| archive.entries()[*i].element.is_float());
    let indices: Vec<usize> = indices.collect();
    let read = |i: usize| {
        let values = archive.read(i).unwrap_or_else(|e| panic!("{e}"));
        (archive.entries()[i].name.clone(), (archive.entries()[i].shape.clone(), values))
    };
    indices.into_iter().map(read).collect()
}

fn quarters(indices: impl IntoIterator<Item = usize>) -> Vec<f32> {
    indices.into_iter().map(|i| i as f32 / 4.0).collect()
}

#[test]
fn a_pytorch_checkpoint_is_read_in_both_formats() {
    for (bytes, format) in [(CHECKPOINT, Format::TorchZip), (LEGACY, Format::TorchPickle)] {
        let mut archive = open(bytes);
        assert_eq!(archive.format(), format);
        let counter = archive.entries().iter().find(|e| e.name == "state_dict.num_batches_tracked");
        assert_eq!(counter.map(|e| (e.element, e.shape.len())), Some((Element::I64, 0)));
        let found = floats(&mut archive);
        let wanted = [
            ("plain", vec![2, 3], quarters(0..6)),
            ("half", vec![4], quarters(0..4)),
            ("bfloat", vec![4], quarters(0..4)),
            ("double", vec![3], quarters(0..3)),
            ("transposed", vec![3, 2], quarters([0, 3, 1, 4, 2, 5])),
            ("channels_last", vec![1, 2, 2, 2], quarters(0..8)),
            ("second_half", vec![3, 4], quarters(12..24)),
            ("every_third", vec![8], quarters((1..24).step_by(3))),
            ("parameter", vec![2, 2], quarters(0..4)),
            ("empty", vec![0, 3], vec![]),
        ];
        assert_eq!(found.len(), wanted.len() + 1, "{format}: {:?}", found.keys());
        for (name, shape, values) in wanted {
            assert_eq!(found[&format!("state_dict.{name}")], (shape, values), "{format}: {name}");
        }
        assert_eq!(found["optimizer.state.0.momentum_buffer"], (vec![2], quarters(0..2)));
    }
}

#[test]
fn a_paddle_state_dict_is_read_in_both_protocols() {
    for bytes in [PADDLE_2, PADDLE_4] {
        let mut archive = open(bytes);
        assert_eq!(archive.format(), Format::NumpyPickle);
        let found = floats(&mut archive);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["0.bias", "0.weight", "1._mean", "1._variance", "1.bias", "1.weight"]);
        assert_eq!(found["0.weight"], (vec![3, 2, 1, 1], quarters(0..6)));
        assert_eq!(found["1._variance"], (vec![3], quarters(0..3)));
    }
}

#[test]
fn a_keras_model_is_read_from_all_its_files() {
    for (bytes, eps) in KERAS.into_iter().zip([Some(1e-4), None, Some(1e-4)]) {
        let mut archive = open(bytes);
        assert_eq!((archive.format(), archive.norm_eps()), (Format::KerasHdf5, eps));
        let last_two = |name: &str| name.rsplit('/').take(2).collect::<Vec<_>>().join(" of ");
        let found: BTreeMap<String, _> =
            floats(&mut archive).into_iter().map(|(n, v)| (last_two(&n), v)).collect();
        let wanted = [
            ("beta of norm", vec![3]),
            ("bias of first", vec![3]),
            ("bias of head", vec![2]),
            ("gamma of norm", vec![3]),
            ("kernel of first", vec![1, 1, 2, 3]),
            ("kernel of head", vec![2, 2]),
            ("kernel of second", vec![1, 1, 3, 2]),
            ("moving_mean of norm", vec![3]),
            ("moving_variance of norm", vec![3]),
        ];
        assert_eq!(found.len(), wanted.len(), "{:?}", found.keys());
        for (name, shape) in wanted {
            let n = shape.iter().product();
            assert_eq!(found[name], (shape, quarters(0..n)), "{name}");
        }
    }
}

#[test]
fn nothing_is_run() {
    assert!(refusal(WHOLE_MODEL).contains("save its state_dict"), "{}", refusal(WHOLE_MODEL));
    // cos.system('true') as every guide to pickle has it.
    let call = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.";
    assert!(refusal(call).contains("`os.system` is not one of the names"), "{}", refusal(call));
    let by_stack = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.";
    assert!(refusal(by_stack).contains("`builtins.eval`"), "{}", refusal(by_stack));
}

#[test]
fn a_pickle_cannot_grow() {
    // A dictionary of a list of a list of ... where each names the one before twice: 2^40 leaves if written out.
    let mut doubling = b"\x80\x02}X\x01\x00\x00\x00a]q\x00".to_vec();
    for level in 0..40u8 {
        doubling.extend([b'0', b']', b'q', level + 1, b'(', b'h', level, b'h', level, b'e']);
    }
    doubling.extend(b"s.");
    assert!(refusal(&doubling).contains("nested too deeply or too widely"), "{}", refusal(&doubling));

    let mut deep = b"\x80\x02".to_vec();
    deep.extend(std::iter::repeat_n(b"]".as_slice(), 1000).flatten());
    deep.extend(std::iter::repeat_n(b"a".as_slice(), 999).flatten());
    deep.push(b'.');
    assert!(refusal(&deep).contains("nested too deeply"), "{}", refusal(&deep));

    let many = [b"\x80\x02".to_vec(), vec![b'N'; (1 << 20) + 1], b".".to_vec()].concat();
    assert!(refusal(&many).contains("on the stack"), "{}", refusal(&many));
    // A string that says it has 2^62 bytes.
    let long = b"\x80\x04\x8d\x00\x00\x00\x00\x00\x00\x00\x40abc.";
    assert!(refusal(long).contains("reach past the end"), "{}", refusal(long));
}

#[test]
fn a_tensor_that_repeats_its_storage_is_refused() {
    // The stride of `plain` becomes 0: a few bytes would stand for a tensor of any size.
    let at =
        CHECKPOINT.windows(8).position(|w| w == b"K\x03K\x01\x86q\x0b\x89" || &w[..5] == b"K\x03K\x01\x86");
    let mut bytes = CHECKPOINT.to_vec();
    let at = at.expect("the stride of `plain`");
    (bytes[at + 1], bytes[at + 3]) = (0, 0);
    // The size (2, 3) stays, and still fits the storage, so this one can be read; a larger one cannot.
    assert!(Archive::from_bytes(bytes.clone()).is_ok());
    let size = CHECKPOINT.windows(5).position(|w| w == b"K\x02K\x03\x86").expect("the size of `plain`");
    (bytes[size + 1], bytes[size + 3]) = (255, 255);
    assert!(refusal(&bytes).contains("repeats the 6 elements"), "{}", refusal(&bytes));
}

#[test]
fn other_files_are_named() {
    for (bytes, what) in [
        (&b"\x1f\x8b\x08\0\0\0\0\0"[..], "gzip"),
        (b"", "not a weights file"),
        (b"hello", "not a weights file"),
        (b"PK\x03\x04", "not a zip archive"),
        (b"{\"a\":1}", "TensorFlow.js"),
    ] {
        assert!(refusal(bytes).contains(what), "{}", refusal(bytes));
    }
}

fn files() -> impl Strategy<Value = &'static [u8]> {
    let pickles = prop::sample::select(vec![CHECKPOINT, LEGACY, PADDLE_2, PADDLE_4, WHOLE_MODEL]);
    prop_oneof![pickles, prop::sample::select(KERAS.to_vec())]
}

/// Whatever the bytes are, opening and reading ends, and gives no more than the file holds.
fn survives(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let n_bytes = bytes.len();
    let Ok(mut archive) = Archive::from_bytes(bytes) else { return Ok(()) };
    for i in 0..archive.entries().len() {
        if let Ok(values) = archive.read(i) {
            prop_assert!(values.len() <= n_bytes);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn cut_files_are_refused_or_read(file in files(), at in any::<prop::sample::Index>()) {
        survives(file[..at.index(file.len())].to_vec())?;
    }

    #[test]
    fn flipped_bits_do_no_harm(file in files(), flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..6)) {
        let mut bytes = file.to_vec();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        survives(bytes)?;
    }

    #[test]
    fn any_opcodes_do_no_harm(ops in prop::collection::vec(prop::sample::select(
        b"\x80\x02(012NJKM\x88\x89\x8a\x8bILFGXUTV\x8cBC)t\x85\x86\x87]l}daesu\x8f\x91\x94qhpgc\x93R\x81\x92bQ.\0\x01\n".to_vec()), 0..200)) {
        survives([b"\x80\x02".to_vec(), ops].concat())?;
    }
}
