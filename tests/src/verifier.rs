//! What the verifier walks: printed, and bounded.

use enforcer::policy::{compile, read};

use crate::kernel::Bench;
use crate::random;

/// Instructions that the verifier may walk.
const LIMIT: u32 = 50_000;

/// A policy that needs every part of the program: nothing is specialised away.
const EVERYTHING: &str = r#"
schema = 1
[devices.d]
mac = "02:00:00:00:00:01"
ip = ["10.20.0.5", "2001:db8::5"]
vlan = 10
interface = "lan0"
[groups.a]
members = ["d", "10.20.0.0/24", "2001:db8::/64", "00:1b:44/24", "vlan:20", "interface:lan1"]
allow = [
  { to = "10.0.0.0/8", service = ["tcp/443", "udp/53"], until = 2199-01-01T00:00:00Z },
  { to = "2001:db8:1::/48", service = "tcp/443" },
]
deny = [{ to = "2001:db8:1:2:3::/80" }]
"#;

#[test]
fn instructions_walked_are_bounded() {
    let (policy, problems) = read("p.toml", EVERYTHING, &mut |_| unreachable!());
    assert_eq!(problems, []);
    let compiled = compile(&policy, &random::site()).unwrap();
    let mut bench = Bench::open("verifier", &compiled.image);
    let walked = bench.get().verified_instructions().unwrap();
    println!("verified instructions, every part in use: {walked}");
    assert!(walked > 1_000, "the kernel does not count, or the program is gone");
    assert!(walked <= LIMIT, "{walked} of {LIMIT}");
}
