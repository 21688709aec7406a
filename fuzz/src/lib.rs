//! The bodies of the fuzz targets.
//!
//! - `bodies`: one for each target; a plain test (`enforcer/tests/crashes.rs`) runs the same ones
//! - `naive`, `random`: the slow model of the policy language, and the environment for its tests
pub mod bodies;
#[expect(unreachable_pub, reason = "shared with the kernel tests")]
#[path = "../../tests/src/naive.rs"]
mod naive;
#[expect(dead_code, unreachable_pub, reason = "shared with the kernel tests")]
#[path = "../../tests/src/random.rs"]
mod random;
