//! The obvious design: a hash of devices and tries of prefixes.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{HashMap, LpmTrie, PerCpuArray};
use aya_ebpf::programs::XdpContext;

const NO_PREALLOC: u32 = 1;
const TCP: u8 = 6;
/// A prefix's value from here on is the number of a set of services.
const SETS: u32 = 1 << 24;

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
pub(crate) fn plain(ctx: XdpContext) -> u32 {
    match allowed(&ctx) {
        Some(bytes) => count(0, bytes, XDP_PASS),
        None => count(1, 0, XDP_DROP),
    }
}

#[inline(always)]
fn count(index: u32, bytes: u64, action: u32) -> u32 {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: this CPU's element, and no other program runs on this CPU meanwhile.
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
    // SAFETY: values are plain numbers that nothing changes.
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
