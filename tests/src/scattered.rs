//! Frames whose headers are not, or not all, in the linear part; and what a frame costs.

use std::time::Duration;

use aya::programs::{TestRun as _, TestRunOptions};
use enforcer::policy::{compile, read};

use enforcer_common::decide::Decision;
use enforcer_common::reason::{Reason, Verdict};

use crate::frames::{Ethernet, Tcp, V4, udp};
use crate::kernel::Bench;
use crate::random;

const POLICY: &str = r#"
schema = 1
[groups.monitors]
members = ["10.20.0.0/24", "2001:db8:20::/64"]
allow = [{ to = "10.30.0.10", service = "tcp/443" }]
"#;
const FRAME: usize = 1500;
const PASS: u32 = 2;
const DROP: u32 = 1;

#[track_caller]
fn bench(test: &str) -> Bench {
    let (policy, problems) = read("p.toml", POLICY, &mut |_| unreachable!());
    assert_eq!(problems, []);
    Bench::open(test, &compile(&policy, &random::site()).unwrap().image)
}

fn ethernet() -> Ethernet {
    Ethernet::new([2, 0, 0, 0, 0, 1]).to([2, 0, 0, 0, 0xff, 0])
}

fn tcp(port: u16, size: usize) -> Vec<u8> {
    let payload = vec![0; size - 14 - 20 - 20];
    let packet = V4::new(0x0a14_0005, 0x0a1e_000a, 6).packet(&Tcp::new(port).segment(&payload));
    ethernet().frame(0x0800, &packet)
}

/// What a run of a frame says whose first `linear` bytes alone are linear; `None` where the
/// kernel does not take such a frame (before Linux 6.18).
fn run(bench: &mut Bench, frame: &[u8], linear: usize, repeat: u32) -> Option<(u32, Duration)> {
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context: Vec<u8> =
        [0, linear as u32, 0, 1, 0, 0].iter().flat_map(|n: &u32| n.to_ne_bytes()).collect();
    let options = TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(&context),
        repeat,
        ..TestRunOptions::new()
    };
    let result = bench.get().dispatcher().unwrap().test_run(options).ok()?;
    Some((result.return_value, result.duration))
}

#[test]
fn cost_of_a_frame() {
    let mut bench = bench("cost");
    let frame = tcp(443, FRAME);
    for linear in [FRAME, 128, 14, 0] {
        let mut best = Duration::MAX;
        for _ in 0..10 {
            let Some((verdict, time)) = run(&mut bench, &frame, linear, 200_000) else { break };
            assert_eq!(verdict, PASS);
            best = best.min(time);
        }
        println!("{FRAME} bytes, {linear} linear: {best:?} a frame");
    }
}
