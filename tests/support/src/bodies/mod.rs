//! Properties that must hold for any input, one module for each fuzz target.
//!
//! - [`parse`]: a frame, through two views of its memory
//! - [`decide`]: a frame by a fixed policy, and every truncation of it
//! - [`policy`]: a document, read, compiled, written and read again
//! - [`image`]: a frame by an image in which some numbers are overwritten
//! - [`record`]: an event from the ring
//! - [`talk`]: frames in both directions, one after the other
//!
//! A body panics if a property does not hold.

pub mod decide;
pub mod image;
pub mod parse;
pub mod policy;
pub mod record;
pub mod talk;

use std::sync::OnceLock;

use enforcer_policy::{Compiled, Policy, compile, read};

use crate::random;

/// The policy of [`decide`] and [`image`], in the world of [`random`].
pub const POLICY: &str = include_str!("policy.toml");

/// The fixed policy, read and compiled once.
pub fn fixed() -> &'static (Policy, Compiled) {
    static FIXED: OnceLock<(Policy, Compiled)> = OnceLock::new();
    FIXED.get_or_init(|| {
        let (policy, problems) = read("policy.toml", POLICY, &mut |_| unreachable!("no files"));
        assert_eq!(problems, [], "the fixed policy");
        let compiled = compile(&policy, &random::host()).expect("the fixed policy compiles");
        assert_eq!(compiled.warnings, [], "the fixed policy");
        (policy, compiled)
    })
}

/// An interface index from a byte; the two of the host are the most frequent.
fn interface(byte: u8) -> u32 {
    match byte % 4 {
        0 | 1 => 1,
        2 => 7,
        _ => u32::from(byte / 4),
    }
}
