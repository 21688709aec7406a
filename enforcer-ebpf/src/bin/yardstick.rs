//! Yardsticks of `cargo xtask bench`; no part of the product.
//!
//! - `replay`: puts the next frame of a table over the one of the test run and calls the program
//!   under test, so that `BPF_PROG_TEST_RUN` sees as many flows as the table has
//! - `empty`: drops; what is measured of all others counts above it
//! - `plain`: the obvious design, a hash of devices and tries of prefixes
//!
//! `replay` and `empty` exist for frames in fragments and without: a program array takes one kind.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
    use aya_ebpf::macros::{map, xdp};
    use aya_ebpf::maps::lpm_trie::Key;
    use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray, ProgramArray};
    use aya_ebpf::programs::XdpContext;

    /// 64-bit words in a frame of the table.
    const WORDS: usize = 10;
    const NO_PREALLOC: u32 = 1;
    const MMAPABLE: u32 = 1 << 10;
    const TCP: u8 = 6;
    /// A prefix's value from here on is the number of a set of services.
    const SETS: u32 = 1 << 24;

    /// Sized by the loader.
    #[map]
    static FRAMES: Array<[u64; WORDS]> = Array::with_max_entries(1, MMAPABLE);
    /// Number of the next frame; frames in use, less one, which are a power of two.
    #[map]
    static CURSOR: PerCpuArray<[u32; 2]> = PerCpuArray::with_max_entries(1, 0);
    #[map]
    static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);
    #[map]
    static TARGET_LINEAR: ProgramArray = ProgramArray::with_max_entries(1, 0);

    /// MAC to group.
    #[map]
    static DEVICES: HashMap<u64, u32> = HashMap::with_max_entries(100_000, 0);
    /// Group and destination to service.
    #[map]
    static V4: LpmTrie<[u32; 2], u32> = LpmTrie::with_max_entries(1, NO_PREALLOC);
    #[map]
    static V6: LpmTrie<[u32; 5], u32> = LpmTrie::with_max_entries(1, NO_PREALLOC);
    /// Set of services and service.
    #[map]
    static SERVICES: HashMap<u64, u8> = HashMap::with_max_entries(1024, 0);
    #[map]
    static COUNTERS: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(2, 0);

    #[xdp(frags)]
    pub(crate) fn replay(ctx: XdpContext) -> u32 {
        next(&ctx);
        // SAFETY: the context is the one that the kernel passed.
        unsafe { TARGET.tail_call(&ctx, 0) };
        XDP_PASS
    }

    #[xdp]
    pub(crate) fn replay_linear(ctx: XdpContext) -> u32 {
        next(&ctx);
        // SAFETY: as above.
        unsafe { TARGET_LINEAR.tail_call(&ctx, 0) };
        XDP_PASS
    }

    #[xdp(frags)]
    pub(crate) fn empty(_ctx: XdpContext) -> u32 {
        XDP_DROP
    }

    #[xdp]
    pub(crate) fn empty_linear(_ctx: XdpContext) -> u32 {
        XDP_DROP
    }

    #[inline(always)]
    fn next(ctx: &XdpContext) {
        let Some(cursor) = CURSOR.get_ptr_mut(0) else { return };
        // SAFETY: this CPU's element, and no other program runs on this CPU meanwhile.
        let number = unsafe {
            let [number, mask] = *cursor;
            (*cursor)[0] = number.wrapping_add(1) & mask;
            number
        };
        let Some(frame) = FRAMES.get(number) else { return };
        let (start, end) = (ctx.data(), ctx.data_end());
        if start + WORDS * 8 > end {
            return;
        }
        let mut word = 0;
        while word < WORDS {
            // SAFETY: `WORDS` words lie in the frame.
            unsafe { (start as *mut u64).add(word).write_unaligned(frame[word]) };
            word += 1;
        }
    }

    #[xdp(frags)]
    pub(crate) fn plain(ctx: XdpContext) -> u32 {
        match allowed(&ctx) {
            Some(bytes) => count(0, bytes, XDP_PASS),
            None => count(1, 0, XDP_DROP),
        }
    }

    #[inline(always)]
    fn count(index: u32, bytes: u64, action: u32) -> u32 {
        if let Some(counter) = COUNTERS.get_ptr_mut(index) {
            // SAFETY: as in `next`.
            unsafe {
                (*counter)[0] += 1;
                (*counter)[1] += bytes;
            }
        }
        action
    }

    #[inline(always)]
    fn at<T: Copy>(ctx: &XdpContext, offset: usize) -> Option<T> {
        let field = ctx.data() + offset;
        if field + size_of::<T>() > ctx.data_end() {
            return None;
        }
        // SAFETY: the field lies in the frame.
        Some(unsafe { (field as *const T).read_unaligned() })
    }

    /// The frame's length, if it may pass.
    #[inline(always)]
    fn allowed(ctx: &XdpContext) -> Option<u64> {
        let [a, b, c, d, e, f]: [u8; 6] = at(ctx, 6)?;
        let mac = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        // SAFETY: values are plain numbers that nobody changes.
        let group = *unsafe { DEVICES.get(mac) }?;
        let (value, protocol, port) = match u16::from_be(at(ctx, 12)?) {
            0x0800 => {
                let header = usize::from(at::<u8>(ctx, 14)? & 0xf) * 4;
                let key = Key::new(64, [group, at(ctx, 30)?]);
                (*V4.get(&key)?, at::<u8>(ctx, 23)?, at::<u16>(ctx, 14 + header + 2)?)
            }
            0x86dd => {
                let [a, b, c, d]: [u32; 4] = at(ctx, 38)?;
                let key = Key::new(160, [group, a, b, c, d]);
                (*V6.get(&key)?, at::<u8>(ctx, 20)?, at::<u16>(ctx, 56)?)
            }
            _ => return None,
        };
        let service = u32::from(protocol) << 16 | u32::from(u16::from_be(port));
        let is = if value < SETS {
            value == service
        } else {
            let key = u64::from(value) << 32 | u64::from(service);
            // SAFETY: as above.
            protocol == TCP && unsafe { SERVICES.get(key) }.is_some()
        };
        is.then_some((ctx.data_end() - ctx.data()) as u64)
    }

    /// A program that could reach this loops, and the verifier refuses it.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

/// The kernel program is built for another target: `cargo xtask ebpf build`.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
