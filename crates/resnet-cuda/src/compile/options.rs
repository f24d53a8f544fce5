//! What the compiler is told. The one place.

use super::{Arch, Unit};

/// The options for a unit, its macros included.
///
/// | option | why |
/// |---|---|
/// | `--fmad=false` | a fused multiply-add stands where the source says `fmaf` and nowhere else, so two kernels that evaluate the same formula agree bit for bit: the ReLU mask of the backward pass is that of the forward pass |
/// | `--ftz`, `--prec-div`, `--prec-sqrt` | IEEE arithmetic, said although it is the default, because the bounds of the tests rest on it |
/// | `--ptxas-options=-v` | registers, spills and shared memory appear in the log, where tests read them |
/// | `--device-int128`, headers | none: kernels include no header of the toolkit, so NVRTC alone is enough |
pub fn options(unit: &Unit, arch: Arch) -> Vec<String> {
    let mut options = vec![
        format!("--gpu-architecture={arch}"),
        "--std=c++17".to_owned(),
        "--fmad=false".to_owned(),
        "--ftz=false".to_owned(),
        "--prec-div=true".to_owned(),
        "--prec-sqrt=true".to_owned(),
        "--ptxas-options=-v".to_owned(),
    ];
    options.extend(unit.macros.iter().map(|(name, value)| format!("--define-macro={name}={value}")));
    options
}
