//! The programs in the kernel: thin adapters around `enforcer-common`.
//!
//! - `xdp`: the programs: `dispatch` is attached, `classify` is a generation
//! - `dispatch`: finds the generation in force
//! - `send`: the programs of the transmit side
//! - `maps`: what is shared with user space
//! - `policy`: the policy, from the maps
//! - `context`: the frame that this CPU is judging
//! - `once`: what the verifier walks once: the decision, and limits
//! - `inbound`: the same for frames towards devices, and what answers them
//! - `probe`: frames that only ask
//! - `record`: what is done about a verdict
//! - `report`: events
//! - `counters`: counters of reasons and rules
//! - `budgets`: budgets of events, and flows that were reported
//! - `frame`: the length of a frame, and its first bytes for its event
//! - `flow_cache`: flows that are not decided again
//! - `clock`: the boot clock
//! - `runs`: proof that the driver runs the program
//! - `linear`, `nonlinear`: frames whose headers are in the linear part, and those whose are not
//!
//! Each XDP program exists twice: for frames that may be spread over fragments (Linux 5.18 and
//! later), and `_linear` for kernels without them. A program array takes one kind only.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod budgets;
#[cfg(target_arch = "bpf")]
mod clock;
#[cfg(target_arch = "bpf")]
mod context;
#[cfg(target_arch = "bpf")]
mod counters;
#[cfg(target_arch = "bpf")]
mod dispatch;
#[cfg(target_arch = "bpf")]
mod flow_cache;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod inbound;
#[cfg(target_arch = "bpf")]
mod linear;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod nonlinear;
#[cfg(target_arch = "bpf")]
mod once;
#[cfg(target_arch = "bpf")]
mod policy;
#[cfg(target_arch = "bpf")]
mod probe;
#[cfg(target_arch = "bpf")]
mod record;
#[cfg(target_arch = "bpf")]
mod report;
#[cfg(target_arch = "bpf")]
mod runs;
#[cfg(target_arch = "bpf")]
mod send;
#[cfg(target_arch = "bpf")]
mod xdp;

/// A program that could reach this loops, and the verifier refuses it.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Lets the kernel offer its GPL-only helpers.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The kernel program is built for another target: `cargo xtask ebpf build`.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
