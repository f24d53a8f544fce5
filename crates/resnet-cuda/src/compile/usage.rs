//! What every kernel of a cubin uses, read from the assembler's log (`--ptxas-options=-v`).

/// Resources of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The kernel's name.
    pub kernel: String,
    /// Registers per thread.
    pub registers: u32,
    /// Bytes per thread that did not fit into registers: stores and loads. Both 0 where nothing spills.
    pub spill_bytes: u32,
    /// Bytes of local memory per thread: spills, and arrays indexed by what is not known at compile time.
    pub stack_bytes: u32,
    /// Bytes of static shared memory per block.
    pub shared_bytes: u32,
}

/// Reads the log. A log of another form gives an empty list, never a wrong number.
pub fn usage(log: &str) -> Vec<Usage> {
    let mut kernels = Vec::new();
    let mut current: Option<Usage> = None;
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_owned();
            current = Some(Usage { kernel, registers: 0, spill_bytes: 0, stack_bytes: 0, shared_bytes: 0 });
        } else if let Some(usage) = &mut current {
            if line.contains("bytes stack frame") {
                usage.stack_bytes = before(line, " bytes stack frame").unwrap_or(u32::MAX);
                let stores = before(line, " bytes spill stores").unwrap_or(u32::MAX);
                usage.spill_bytes =
                    stores.saturating_add(before(line, " bytes spill loads").unwrap_or(u32::MAX));
            } else if line.contains("Used ") && line.contains(" registers") {
                usage.registers = before(line, " registers").unwrap_or(u32::MAX);
                usage.shared_bytes = before(line, " bytes smem").unwrap_or(0);
                kernels.extend(current.take());
            }
        }
    }
    kernels
}

/// The number that stands right before a text.
fn before(line: &str, text: &str) -> Option<u32> {
    let (head, _) = line.split_once(text)?;
    head.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_of_two_kernels() {
        let log = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'first' for 'sm_90a'\n\
            ptxas info    : Function properties for first\n    \
            16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n\
            ptxas info    : Used 168 registers, used 1 barriers, 16 bytes cumulative stack size, 1024 bytes smem\n\
            ptxas info    : Compiling entry function 'second' for 'sm_90a'\n\
            ptxas info    : Function properties for second\n    \
            0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Used 12 registers, used 0 barriers\n";
        let [first, second] = usage(log).try_into().expect("two kernels");
        assert_eq!((first.kernel.as_str(), first.registers, first.spill_bytes), ("first", 168, 12));
        assert_eq!((first.stack_bytes, first.shared_bytes), (16, 1024));
        assert_eq!((second.kernel.as_str(), second.registers, second.spill_bytes), ("second", 12, 0));
        assert!(usage("something else").is_empty());
    }
}
