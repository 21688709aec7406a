//! Frame parser, policy image and decision, shared by the kernel and the host.
//!
//! - [`packet`]: the one door to packet memory
//! - [`wire`]: offsets, numbers and sizes of the protocols
//! - [`flow`]: what a frame says about itself
//! - [`parse`]: frame to [`flow::Flow`], or why not
//! - [`image`]: the lines of a policy image, and how to walk them
//! - [`decide`]: flow and policy to verdict and reason
//! - [`reason`]: why a verdict was given
//! - [`event`]: what the kernel reports to user space about a frame
//! - [`keyed`]: digests and slots that depend on a secret
//! - [`shared`]: words that several CPUs read and write
//! - [`abi`]: names, sizes and version of what is shared through the kernel
//!
//! `core` only: the kernel program compiles this source too. What differs between kernel and host
//! (map look-ups, the clock, fragment state) is behind [`decide::Policy`].
#![cfg_attr(not(test), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test panics"
    )
)]

pub mod abi;
pub mod decide;
pub mod event;
pub mod flow;
pub mod image;
pub mod keyed;
pub mod packet;
pub mod parse;
pub mod reason;
pub mod shared;
pub mod wire;
