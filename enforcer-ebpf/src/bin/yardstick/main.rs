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
mod plain;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
    use aya_ebpf::macros::{map, xdp};
    use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray};
    use aya_ebpf::programs::XdpContext;

    /// 64-bit words in a frame of the table.
    const WORDS: usize = 10;
    const MMAPABLE: u32 = 1 << 10;

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
