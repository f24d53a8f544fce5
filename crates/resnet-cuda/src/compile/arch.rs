//! The instruction set that is compiled for.

use std::fmt;

use crate::probe::Capability;

/// A real architecture: `sm_80`, or `sm_90a` with the instructions of this generation alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arch {
    sm: u32,
    specific: bool,
}

impl Arch {
    /// Ampere: the first with asynchronous copies, bf16 and tf32.
    pub const SM_80: Arch = Arch { sm: 80, specific: false };
    /// Hopper.
    pub const SM_90A: Arch = Arch { sm: 90, specific: true };
    /// Blackwell for data centres.
    pub const SM_100A: Arch = Arch { sm: 100, specific: true };

    /// What to compile for on a device. From Hopper on, the generation's own instructions are included:
    /// a cubin never runs on another generation anyway.
    pub fn of(capability: Capability) -> Self {
        let sm = capability.major * 10 + capability.minor;
        Arch { sm, specific: capability.major >= 9 }
    }

    /// The number alone, as NVRTC lists what it supports.
    pub fn sm(self) -> u32 {
        self.sm
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}{}", self.sm, if self.specific { "a" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_device() {
        for (major, minor, name) in [(8, 0, "sm_80"), (8, 9, "sm_89"), (9, 0, "sm_90a"), (10, 0, "sm_100a")] {
            assert_eq!(Arch::of(Capability { major, minor }).to_string(), name);
        }
    }
}
