//! The names a pickle may use, and what they make.

use super::machine::Machine;
use super::value::{Array, Heap, Kind, Storage, Tensor, Value};
use crate::container::Element;
use crate::error::Why;

/// What a name stands for.
pub(super) fn known(module: &str, name: &str) -> Why<Value> {
    use Kind::*;
    let kind = match (module, name) {
        ("collections", "OrderedDict" | "defaultdict" | "Counter") | ("builtins" | "__builtin__", "dict") => {
            Dict
        }
        ("torch._utils", "_rebuild_tensor") => RebuildTensor,
        ("torch._utils", "_rebuild_tensor_v2") => RebuildTensorV2,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => RebuildParameter,
        ("torch._tensor", "_rebuild_from_type_v2") => RebuildFromType,
        ("torch", "Tensor" | "Size" | "device") => Inert,
        ("torch.nn.parameter", "Parameter" | "Buffer") => Inert,
        ("torch", storage) if storage.ends_with("Storage") => Storage(storage_element(storage)?),
        ("torch", dtype) if torch_dtype(dtype).is_some() => {
            return Ok(torch_dtype(dtype).map_or(Value::Inert, Value::Element));
        }
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => NumpyReconstruct,
        ("numpy", "ndarray") => NumpyArray,
        ("numpy", "dtype") => NumpyDtype,
        ("_codecs", "encode") => Encode,
        // What training scripts put beside the weights.
        ("argparse", "Namespace") | ("types", "SimpleNamespace") => Inert,
        ("pathlib" | "pathlib._local", "Path" | "PosixPath" | "WindowsPath" | "PurePosixPath") => Inert,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Inert,
        ("builtins" | "__builtin__", "set" | "frozenset" | "bytearray" | "complex" | "slice") => Inert,
        ("datetime", "datetime" | "date" | "timedelta") => Inert,
        ("torch.nn.modules.container" | "torch.nn.modules.conv" | "torchvision.models.resnet", _) => {
            return Err(format!(
                "`{module}.{name}`: a whole model was pickled, which can only be read by running it; save its state_dict"
            ));
        }
        _ => return Err(format!("`{module}.{name}` is not one of the names that weights need; refused")),
    };
    Ok(if kind == Inert { Value::Inert } else { Value::Known(kind) })
}

fn storage_element(name: &str) -> Why<Element> {
    Ok(match name {
        "FloatStorage" => Element::F32,
        "HalfStorage" => Element::F16,
        "BFloat16Storage" => Element::Bf16,
        "DoubleStorage" => Element::F64,
        "LongStorage" => Element::I64,
        "IntStorage" => Element::I32,
        "ShortStorage" => Element::I16,
        "CharStorage" => Element::I8,
        "ByteStorage" => Element::U8,
        "BoolStorage" => Element::Bool,
        _ => return Err(format!("`torch.{name}` holds elements that cannot be read")),
    })
}

fn torch_dtype(name: &str) -> Option<Element> {
    Some(match name {
        "float32" => Element::F32,
        "float16" => Element::F16,
        "bfloat16" => Element::Bf16,
        "float64" => Element::F64,
        "int64" => Element::I64,
        "int32" => Element::I32,
        "int16" => Element::I16,
        "int8" => Element::I8,
        "uint8" => Element::U8,
        "bool" => Element::Bool,
        _ => return None,
    })
}

/// What a call with these arguments makes.
pub(super) fn call(machine: &mut Machine<'_, '_>, kind: Kind, args: Value) -> Why<Value> {
    let Some(args) = machine.heap.items(args).map(<[Value]>::to_vec) else {
        return Err("a call whose arguments are no tuple".into());
    };
    match kind {
        Kind::Dict => {
            let dict = machine.heap.dict()?;
            // Old pickles give the items as a list of pairs.
            let pairs = args.first().and_then(|list| machine.heap.items(*list)).unwrap_or_default().to_vec();
            for pair in pairs {
                let pair = machine.heap.items(pair).unwrap_or_default();
                let [key, value] = pair[..] else {
                    return Err("a dictionary made of something else than pairs".into());
                };
                if let Value::Dict(id) = dict {
                    machine.heap.set(id, key, value)?;
                }
            }
            Ok(dict)
        }
        Kind::RebuildTensor | Kind::RebuildTensorV2 => tensor(machine.heap, &args),
        Kind::RebuildParameter => match args.first() {
            Some(data @ Value::Tensor(_)) => Ok(*data),
            _ => Err("a parameter made of something else than a tensor".into()),
        },
        Kind::RebuildFromType => match args[..] {
            [Value::Known(inner @ (Kind::RebuildTensorV2 | Kind::RebuildParameter)), _, inner_args, ..] => {
                call(machine, inner, inner_args)
            }
            _ => Err("a tensor rebuilt in a way that is not known".into()),
        },
        Kind::NumpyReconstruct => machine.heap.array(),
        Kind::NumpyDtype => {
            let code = args.first().and_then(|code| machine.heap.text(*code)).unwrap_or_default();
            Ok(numpy_element(code).map_or(Value::Inert, Value::Element))
        }
        Kind::Encode => {
            let text = args.first().and_then(|text| machine.heap.text(*text));
            let Some(text) = text else {
                return Err("`_codecs.encode` of something else than a string".into());
            };
            let latin1 = text.chars().map(|c| u8::try_from(u32::from(c)));
            let bytes: Result<Vec<u8>, _> = latin1.collect();
            machine.keep_bytes(bytes.map_err(|_| "`_codecs.encode` of a string that is not Latin-1")?)
        }
        Kind::NumpyArray | Kind::Storage(_) | Kind::Inert => Ok(Value::Inert),
    }
}

/// `_rebuild_tensor(storage, offset, size, stride)`; the second version has more behind.
fn tensor(heap: &mut Heap, args: &[Value]) -> Why<Value> {
    let [Value::Storage(storage), Value::Int(offset), shape, strides, ..] = args[..] else {
        return Err("a tensor that is not made of storage, offset, size and stride".into());
    };
    let (Ok(offset), Some(shape), Some(strides)) =
        (usize::try_from(offset), heap.extents(shape), heap.extents(strides))
    else {
        return Err("a tensor whose offset, size or stride is not made of whole numbers from 0 up".into());
    };
    heap.tensor(Tensor { storage, offset, shape, strides })
}

/// The element type of a NumPy type code; `None` if it is none that weights have.
fn numpy_element(code: &str) -> Option<Element> {
    Some(match code.trim_start_matches(['<', '=', '|']) {
        "f4" => Element::F32,
        "f2" => Element::F16,
        "f8" => Element::F64,
        "i8" => Element::I64,
        "i4" => Element::I32,
        "i2" => Element::I16,
        "i1" => Element::I8,
        "u1" => Element::U8,
        "b1" => Element::Bool,
        _ => return None,
    })
}

/// `BUILD`: gives an object its state.
pub(super) fn set_state(machine: &mut Machine<'_, '_>, object: Value, state: Value) -> Why<()> {
    match object {
        Value::Array(id) => {
            let array = array(machine.heap, state)?;
            machine.heap.arrays[id] = array;
            Ok(())
        }
        Value::Element(_) => {
            let order = machine.heap.items(state).and_then(|s| machine.heap.text(*s.get(1)?));
            match order {
                Some(">") => Err("a NumPy array with big-endian elements".into()),
                _ => Ok(()),
            }
        }
        // An OrderedDict may carry attributes such as `_metadata`; so may a tensor.
        Value::Dict(_) | Value::Inert | Value::Tensor(_) => Ok(()),
        other => Err(format!("a state is given to {}", machine.heap.describe(other))),
    }
}

/// State of an array: version, shape, type, whether in Fortran order, bytes. `None` for elements that weights do not have.
fn array(heap: &Heap, state: Value) -> Why<Option<Array>> {
    let Some([_, shape, element, Value::Bool(fortran), data]) = heap.items(state) else {
        return Err("an array whose state is not version, shape, type, order and bytes".into());
    };
    let Value::Element(element) = *element else { return Ok(None) };
    let (Some(shape), Value::Bytes { start, len }) = (heap.extents(*shape), *data) else {
        return Err("an array without a shape or without bytes".into());
    };
    Ok(Some(Array { shape, element, fortran: *fortran, start, len }))
}

/// The storage a persistent id names: `('storage', type, key, device, length)` and in old files a view.
pub(super) fn storage(heap: &mut Heap, id: Value) -> Why<Value> {
    let items = heap.items(id).unwrap_or_default();
    let text = |v: Value| heap.text(v).map(str::to_owned);
    let [tag, Value::Known(Kind::Storage(element)), key, _, Value::Int(len), ref view @ ..] = *items else {
        return Err(
            "a persistent id that is no storage; a whole model was pickled, or another kind of object".into(),
        );
    };
    let (Some("storage"), Some(key), Ok(len)) = (heap.text(tag), text(key), usize::try_from(len)) else {
        return Err("a persistent id that is no storage".into());
    };
    let view = view.first().and_then(|view| heap.items(*view));
    let view_offset = match view {
        None => 0,
        Some([_, Value::Int(offset), Value::Int(_)]) if *offset >= 0 => *offset as usize,
        Some(_) => return Err("a view that is not key, offset and size".into()),
    };
    heap.storage(Storage { element, key, len, view_offset })
}
