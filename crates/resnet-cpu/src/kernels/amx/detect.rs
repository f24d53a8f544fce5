//! Whether tiles may be used: the CPU has them, the system saves them, and the process has asked for them.

/// Whether this process can use `tdpbf16ps` from now on. Asks the system for it, once.
pub(super) fn usable() -> bool {
    use std::sync::OnceLock;
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| machine::has_tiles() && machine::request_permission())
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod machine {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    /// Bits of leaf 7, EDX.
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    /// Bit of leaf 1, ECX: the system uses `xsave`, and `xgetbv` may be executed.
    const OSXSAVE: u32 = 1 << 27;
    /// Bits of XCR0: the configuration of tiles and their data.
    const TILE_STATE: u64 = 0b11 << 17;

    /// Whether the CPU has tiles and products of bf16, and the system saves them.
    pub(super) fn has_tiles() -> bool {
        if __cpuid(0).eax < 7 {
            return false;
        }
        let features = __cpuid_count(7, 0).edx;
        let saves = __cpuid(1).ecx & OSXSAVE != 0 && {
            // SAFETY: OSXSAVE says that `xgetbv` is there and switched on.
            (unsafe { state() }) & TILE_STATE == TILE_STATE
        };
        features & AMX_TILE != 0 && features & AMX_BF16 != 0 && saves
    }

    #[target_feature(enable = "xsave")]
    fn state() -> u64 {
        // SAFETY: the caller has found OSXSAVE; register 0 always exists.
        unsafe { _xgetbv(0) }
    }

    /// Asks Linux to let this process use tiles, all its threads included. Any refusal means no tiles.
    pub(super) fn request_permission() -> bool {
        const ARCH_PRCTL: isize = 158;
        const REQUEST_PERMISSION: usize = 0x1023;
        const TILE_DATA: usize = 18;
        let answer: isize;
        // SAFETY: `arch_prctl` with this request reads and writes no memory of the process; the registers that a system call
        // changes are declared.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") ARCH_PRCTL => answer,
                in("rdi") REQUEST_PERMISSION,
                in("rsi") TILE_DATA,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
        answer == 0
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod machine {
    pub(super) fn has_tiles() -> bool {
        false
    }
    pub(super) fn request_permission() -> bool {
        false
    }
}
