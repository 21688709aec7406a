//! Drivers on which native XDP is known to leave frames unjudged.

use super::{offload, virtio};

/// Why native XDP must not be tried on an interface: its driver would accept the program and not
/// run it, or lose it later, or is known to refuse it. `None` if there is no known problem.
pub fn hindrance(interface: &str, mtu: u32) -> Option<String> {
    let info = offload::driver_info(interface).ok()?;
    match info.driver.as_str() {
        "virtio_net" => virtio::hindrance(&info.bus, mtu),
        // After it resets its receive queues the driver does not run the program (seen on 6.12 and
        // 7.2). Detecting that takes 16 frames, which pass meanwhile.
        "vmxnet3" => Some(
            "the driver loses a native program when the link goes down and up or its rings change"
                .into(),
        ),
        _ => None,
    }
}
