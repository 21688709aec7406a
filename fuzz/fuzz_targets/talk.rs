//! See `enforcer_testkit::bodies::talk`.
#![no_main]

use enforcer_testkit::bodies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::talk::run(data));
