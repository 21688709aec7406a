//! Frames by the million: our own program writes the next frame of a table over a page and redirects it
//! into an interface, in a live test run of the kernel (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18).
use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use super::bpf;

/// Bytes of a frame; without its check sequence.
pub const LENGTH: usize = 64;

/// Commands and a type of include/uapi/linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE: libc::c_long = 2;
const TEST_RUN: libc::c_long = 10;
const ARRAY: u32 = 2;
const LIVE_FRAMES: u32 = 2;
/// Frames that the kernel passes on at a time; a veth's ring holds 256.
const BATCH: u32 = 64;

/// A table of frames, and the program that sends them in turn.
#[derive(Debug)]
pub struct Generator(OwnedFd);

impl Generator {
    /// Loads one that redirects into an interface of the namespace that it runs in; without an
    /// interface it drops its frames.
    ///
    /// # Panics
    /// When the frames are no power of two, or of another length, or the kernel refuses.
    #[track_caller]
    pub fn load(frames: &[Vec<u8>], interface: Option<u32>) -> Self {
        assert!(frames.len().is_power_of_two(), "{} frames", frames.len());
        assert!(frames.iter().all(|frame| frame.len() == LENGTH), "frames have {LENGTH} bytes");
        let table = table(frames);
        let code = code(table.as_raw_fd() as u32, frames.len() as u32, interface);
        // The program keeps the table.
        Self(bpf::load_code(bpf::XDP, "generator", 0, &code))
    }

    /// Sends this many frames from the namespace of this thread; returns the time it took.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[track_caller]
    pub fn send(&self, count: u32) -> Duration {
        #[repr(C)]
        struct Attribute {
            program: i32,
            result: u32,
            size: [u32; 2],
            data: [u64; 2],
            repeat: u32,
            duration: u32,
            context_size: [u32; 2],
            context: [u64; 2],
            flags: u32,
            cpu: u32,
            batch: u32,
            padding: u32,
        }
        let frame = [0u8; LENGTH];
        let attribute = Attribute {
            program: self.0.as_raw_fd(),
            result: 0,
            size: [LENGTH as u32, 0],
            data: [frame.as_ptr() as u64, 0],
            repeat: count,
            duration: 0,
            context_size: [0; 2],
            context: [0; 2],
            flags: LIVE_FRAMES,
            cpu: 0,
            batch: BATCH,
            padding: 0,
        };
        let begun = Instant::now();
        bpf::bpf("live test run", TEST_RUN, &attribute);
        begun.elapsed()
    }
}

/// An array of one value: a counter with its cache line, then the frames.
#[track_caller]
fn table(frames: &[Vec<u8>]) -> OwnedFd {
    let value = [vec![0; LENGTH], frames.concat()].concat();
    let size = u32::try_from(value.len()).expect("it is small");
    let map = bpf::bpf("map", MAP_CREATE, &[ARRAY, 4, size, 1, 0]).expect("a descriptor");
    let key = 0u32;
    let pair = [&raw const key as u64, value.as_ptr() as u64];
    bpf::bpf("update", MAP_UPDATE, &[map.as_raw_fd() as u64, pair[0], pair[1], 0]);
    map
}

/// One instruction: operation, destination and source register, offset, number.
fn instruction(operation: u8, to: u8, from: u8, offset: i16, number: u32) -> u64 {
    let [low, high] = (offset as u16).to_le_bytes();
    let bytes = number.to_le_bytes();
    let [a, b, c, d] = bytes;
    u64::from_le_bytes([operation, from << 4 | to, low, high, a, b, c, d])
}

/// The program: next number, copy of that frame, redirection.
fn code(map: u32, frames: u32, interface: Option<u32>) -> Vec<u64> {
    let op = instruction;
    let length = LENGTH as u32;
    let mut code = vec![
        op(0x61, 2, 1, 0, 0),      // r2 = ctx->data
        op(0x61, 3, 1, 4, 0),      // r3 = ctx->data_end
        op(0xbf, 4, 2, 0, 0),      // r4 = r2
        op(0x07, 4, 0, 0, length), // r4 += length
        op(0xbd, 4, 3, 2, 0),      // if r4 <= r3 skip two
        op(0xb7, 0, 0, 0, 0),      // r0 = XDP_ABORTED
        op(0x95, 0, 0, 0, 0),      // exit
        op(0x18, 1, 2, 0, map),    // r1 = the counter
        0,
        op(0x61, 0, 1, 0, 0),              // r0 = *r1
        op(0xbf, 5, 0, 0, 0),              // r5 = r0
        op(0x07, 5, 0, 0, 1),              // r5 += 1
        op(0x63, 1, 5, 0, 0),              // *r1 = r5
        op(0x57, 0, 0, 0, frames - 1),     // r0 &= frames - 1
        op(0x67, 0, 0, 0, length.ilog2()), // r0 *= length
        op(0x18, 1, 2, 0, map),            // r1 = the first frame
        op(0, 0, 0, 0, length),
        op(0x0f, 1, 0, 0, 0), // r1 += r0
    ];
    for word in (0..LENGTH as i16).step_by(8) {
        code.push(op(0x79, 4, 1, word, 0)); // r4 = the table's word
        code.push(op(0x7b, 2, 4, word, 0)); // the frame's word = r4
    }
    if let Some(interface) = interface {
        code.push(op(0xb7, 1, 0, 0, interface)); // r1 = interface
        code.push(op(0xb7, 2, 0, 0, 0)); // r2 = no flags
        code.push(op(0x85, 0, 0, 0, 23)); // r0 = bpf_redirect(r1, r2)
    } else {
        code.push(op(0xb7, 0, 0, 0, 1)); // r0 = XDP_DROP
    }
    code.push(op(0x95, 0, 0, 0, 0)); // exit
    code
}
