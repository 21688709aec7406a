//! See `bodies::policy`.
#![no_main]

use enforcer_fuzz::bodies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::policy::run(data));
