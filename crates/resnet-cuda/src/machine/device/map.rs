//! Descriptions of tensors for Hopper's tensor memory accelerator, by the driver's function for them.
#![allow(unsafe_code)]

use cudarc::driver::sys::{
    self, CUtensorMap, CUtensorMapDataType, CUtensorMapFloatOOBfill, CUtensorMapInterleave,
    CUtensorMapL2promotion, CUtensorMapSwizzle,
};
use resnet_core::Result;

use super::{ENCODE_MAP, failed, refused};
use crate::args::map::TensorMap;

/// What a kernel takes for a tensor of 16-bit elements. Its bits do not matter to copies, so both types are described alike.
pub(super) fn encode(map: &TensorMap) -> Result<[u64; 16]> {
    if map.element_bytes != 2 {
        return Err(refused(format!(
            "a tensor of {} bytes an element cannot be described",
            map.element_bytes
        )));
    }
    let swizzle = match map.swizzled {
        0 => CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
        _ => CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
    };
    let mut encoded = CUtensorMap { opaque: [0; 16] };
    let (extents, pitch) = ([map.columns, map.rows], [map.row_bytes]);
    let (part, steps) = ([map.box_columns, map.box_rows], [1u32, 1]);
    // SAFETY: the function is there, which whoever calls this has looked for. It reads arrays of as many elements as the rank of 2 says (one
    // pitch less) and writes one `CUtensorMap`; the address is noted and not read.
    let code = unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut encoded,
            CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT16,
            2,
            map.address as *mut std::ffi::c_void,
            extents.as_ptr(),
            pitch.as_ptr(),
            part.as_ptr(),
            steps.as_ptr(),
            CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    code.result().map_err(|error| failed(&format!("{ENCODE_MAP} for {map:?}"), error))?;
    Ok(encoded.opaque)
}
