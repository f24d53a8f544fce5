//! Is CUDA here? The questions in their order, from the driver to the compiler.

use std::fmt;
use std::path::PathBuf;

use crate::error::CudaUnavailable;
use crate::library::{Attribute, Driver, Loaded, nvrtc_version};
use crate::search::Search;

/// The driver, which the system installs; the loader knows it by this name.
pub(crate) const DRIVER: &str = "libcuda.so.1";

/// NVRTC in the versions that know today's devices, newest first.
/// It opens its built-in headers by bare name and has no path of its own to find them, so they are loaded before it.
const NVRTC: [Nvrtc; 2] = [
    Nvrtc { library: "libnvrtc.so.13", builtins: "libnvrtc-builtins.so.13" },
    Nvrtc { library: "libnvrtc.so.12", builtins: "libnvrtc-builtins.so.12" },
];

struct Nvrtc {
    library: &'static str,
    /// The name begins so; a minor version follows.
    builtins: &'static str,
}

/// Kernels use bf16 arithmetic and asynchronous copies, which came with this generation.
const CAPABILITY_NEEDED: Capability = Capability { major: 8, minor: 0 };

/// The first driver that runs what the oldest accepted NVRTC compiles.
const DRIVER_NEEDED: DriverVersion = DriverVersion { major: 12, minor: 0 };

/// A compute capability, the generation of a device's instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// The generation.
    pub major: u32,
    /// The step within it.
    pub minor: u32,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A CUDA version a driver supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DriverVersion {
    /// Major version.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A device that can be used, and what was found with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number, from 0.
    pub ordinal: usize,
    /// Its name as the driver tells it.
    pub name: String,
    /// Its compute capability.
    pub capability: Capability,
    /// Its memory in bytes.
    pub memory_bytes: usize,
    /// The CUDA version the driver supports.
    pub driver: DriverVersion,
    /// Where NVRTC was found.
    pub nvrtc: PathBuf,
    /// NVRTC's version.
    pub nvrtc_version: DriverVersion,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Device { ordinal, name, capability, memory_bytes, driver, nvrtc, nvrtc_version } = self;
        let gib = *memory_bytes as f64 / f64::from(1 << 30);
        write!(
            f,
            "CUDA device {ordinal}, {name} (compute capability {capability}, {gib:.1} GiB, driver for CUDA {driver}, \
             NVRTC {nvrtc_version} from {})",
            nvrtc.display()
        )
    }
}

/// Looks for a driver, the device with this number and NVRTC, in that order, and stops at the first that is missing.
///
/// # Errors
/// Every [`CudaUnavailable`].
pub fn probe(search: &Search, ordinal: usize) -> Result<Device, CudaUnavailable> {
    let loaded = Loaded::open(search, &[DRIVER])?
        .ok_or_else(|| CudaUnavailable::NoDriver { library: DRIVER, searched: search.places(&[DRIVER]) })?;
    let driver = Driver::init(loaded)?;

    let version = unsigned(driver.version()?);
    let version = DriverVersion { major: version / 1000, minor: version % 1000 / 10 };
    if version < DRIVER_NEEDED {
        return Err(CudaUnavailable::DriverTooOld { found: version, needed: DRIVER_NEEDED });
    }

    let count = unsigned(driver.device_count()?) as usize;
    if count == 0 {
        return Err(CudaUnavailable::NoDevice);
    }
    let handle = match i32::try_from(ordinal) {
        Ok(index) if ordinal < count => driver.device(index)?,
        _ => return Err(CudaUnavailable::NoSuchDevice { ordinal, count }),
    };
    let name = driver.device_name(handle)?;
    let capability = Capability {
        major: unsigned(driver.attribute(handle, Attribute::CapabilityMajor)?),
        minor: unsigned(driver.attribute(handle, Attribute::CapabilityMinor)?),
    };
    if capability < CAPABILITY_NEEDED {
        return Err(CudaUnavailable::DeviceTooOld {
            device: name,
            found: capability,
            needed: CAPABILITY_NEEDED,
        });
    }
    let memory_bytes = driver.total_memory(handle)?;
    let (nvrtc, nvrtc_version) = find_nvrtc(search)?;
    Ok(Device { ordinal, name, capability, memory_bytes, driver: version, nvrtc, nvrtc_version })
}

/// Loads NVRTC and asks for its version. NVRTC needs no device.
///
/// # Errors
/// [`NoNvrtc`](CudaUnavailable::NoNvrtc), or what is wrong with the file found.
pub fn find_nvrtc(search: &Search) -> Result<(PathBuf, DriverVersion), CudaUnavailable> {
    let (nvrtc, _builtins) = open_nvrtc(search)?;
    let (major, minor) = nvrtc_version(&nvrtc)?;
    let version = DriverVersion { major: unsigned(major), minor: unsigned(minor) };
    Ok((nvrtc.path().to_owned(), version))
}

/// Loads NVRTC, and its built-in headers where they lie in a folder of the search. Both must stay loaded to be used.
pub(crate) fn open_nvrtc(search: &Search) -> Result<(Loaded, Option<Loaded>), CudaUnavailable> {
    for Nvrtc { library, builtins } in NVRTC {
        let builtins = load_builtins(search, builtins)?;
        if let Some(nvrtc) = Loaded::open(search, &[library])? {
            return Ok((nvrtc, builtins));
        }
    }
    Err(CudaUnavailable::NoNvrtc { searched: search.places(&NVRTC.map(|nvrtc| nvrtc.library)) })
}

/// Loads NVRTC's built-in headers from the search's folders, where they are; the loader finds its own.
fn load_builtins(search: &Search, prefix: &str) -> Result<Option<Loaded>, CudaUnavailable> {
    for folder in &search.folders {
        let Ok(listing) = std::fs::read_dir(folder) else { continue };
        let mut names: Vec<String> =
            listing.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| name.starts_with(prefix));
        names.sort();
        if let Some(name) = names.first() {
            let here = Search { folders: vec![folder.clone()], system: false };
            return Loaded::open(&here, &[name]);
        }
    }
    Ok(None)
}

/// Counts and versions come as C ints; a negative one is none.
fn unsigned(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}
