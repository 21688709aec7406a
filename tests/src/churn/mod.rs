//! Changes under load: every frame is judged by exactly one policy, whatever happens to the daemon.
//!
//! - `world`: two policies that contradict each other, and the frames that each lets pass
//! - `stream`: marked, numbered frames from several devices, and which of them arrived
//! - `judge`: which policy may have judged which frame
//! - `operator`: the daemon's socket
//! - `replace`: policies and live changes one after the other
//! - `confirm`: a policy that is not confirmed
//! - `killed`: kill -9 at random moments
//! - `syscalls`: kill at every bpf(2) call of a change, and of a start that adopts
//! - `unpinned`: pins, their file system and links that are removed
//! - `versions`: upgrades and downgrades
//! - `packages`: the same with packages, in Debian root file systems; `cargo xtask test dist`
mod confirm;
mod judge;
mod killed;
mod operator;
mod packages;
mod replace;
mod stream;
mod syscalls;
mod unpinned;
mod versions;
mod world;

use judge::Timeline;
use operator::Operator;
use stream::Stream;
use world::State;

use crate::harness::{Daemon, Lab};

/// Number of policies that are applied, and of live changes.
const REPLACEMENTS: u64 = 1000;
/// Times that the daemon is killed.
const KILLS: u64 = 200;
/// Times that each pin, all of them and the file system are removed, and that a link is detached.
const UNPINNED: u64 = 10;
/// Upgrades and downgrades together.
const VERSIONS: u64 = 50;

/// Starts a daemon with the first policy, and the stream.
#[track_caller]
fn begin<'a>(lab: &'a Lab, mut daemon: Daemon<'a>) -> (Daemon<'a>, Operator, Timeline) {
    let first = State::default();
    daemon.write("policy.toml", &first.document());
    daemon.run();
    let operator = Operator::of(&daemon);
    (daemon, operator, Timeline::begin(Stream::start(lab), first))
}
