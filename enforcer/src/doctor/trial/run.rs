//! Runs this binary's program with a test policy on pairs of interfaces in a separate namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use enforcer_common::reason::Reason;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, new_connection};

use super::frames::{POLICY, cases};
use super::place::{self, within};
use super::wire::Socket;
use super::{FrameContext, Seen, first, judge};
use crate::dataplane::pins::Pins;
use crate::dataplane::programs::{Kind, Options};
use crate::dataplane::{self, Dataplane, Preference};
use crate::doctor::{Finding, chain};
use crate::fault::Fault as _;
use crate::host::{self, Kernel, Link};
use crate::policy::{compile, read};
use crate::privilege;

const CHECK: &str = "self-test";
/// Most time for a frame to cross a pair of interfaces.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time to wait for frames that must not arrive.
const MORE: Duration = Duration::from_millis(100);

/// Why the test did not run or did not finish.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot start")]
    Start(#[source] io::Error),
    #[error("cannot make a pair of interfaces (veth)")]
    Pair(#[source] rtnetlink::Error),
    #[error(transparent)]
    Host(#[from] host::Error),
    #[error("its own policy is refused: {0}")]
    Policy(String),
    #[error(transparent)]
    Kernel(#[from] dataplane::Error),
    #[error("a frame cannot be sent or received")]
    Wire(#[source] io::Error),
}

/// A pair of interfaces: frames go in by the first and come out of the second.
struct Pair {
    name: &'static str,
    /// How the program is attached; `None`: natively, and the policy does not know the interface.
    preference: Option<Preference>,
    device: Link,
    gateway: Link,
}

/// Tries the program. The machine's own network and its enforcement are not affected.
pub fn run() -> Vec<Finding> {
    let lacking = privilege::lacking();
    if !lacking.is_empty() {
        let why = format!("it needs {}", lacking.join(", "));
        return vec![Finding::unknown(CHECK, why, "run it as root")];
    }
    match within(in_place) {
        Ok(Ok(findings)) => findings,
        Ok(Err(Error::Kernel(e))) => {
            let remedy = e.hint().unwrap_or("report it with `uname -a`".into());
            vec![Finding::fail(CHECK, chain(&e), remedy)]
        }
        Ok(Err(e @ Error::Pair(_))) => {
            let remedy = "load the module veth: modprobe veth, or opkg install kmod-veth";
            vec![Finding::unknown(CHECK, chain(&e), remedy)]
        }
        Ok(Err(e)) => vec![Finding::unknown(CHECK, chain(&e), "report it with `uname -a`")],
        Err(e) => {
            let remedy = "run it as root, and not in a container without CAP_SYS_ADMIN";
            vec![Finding::unknown(CHECK, chain(&e), remedy)]
        }
    }
}

fn in_place() -> Result<Vec<Finding>, Error> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().map_err(Error::Start)?.block_on(try_all())
}

async fn try_all() -> Result<Vec<Finding>, Error> {
    privilege::lift_memory_lock();
    let pairs = [
        ("native", Some(Preference::Native)),
        ("generic", Some(Preference::Generic)),
        ("an unknown interface", None),
    ];
    let mut made = Vec::new();
    for (number, (name, preference)) in (0..).zip(pairs) {
        made.push(make(number, name, preference).await?);
    }
    let mut dataplane = load(&made).await?;
    let mut findings = vec![engine(&dataplane)?];
    for pair in &made {
        findings.push(try_pair(&mut dataplane, pair)?);
    }
    Ok(findings)
}

/// Makes a pair, both ends up.
async fn make(
    number: u32,
    name: &'static str,
    preference: Option<Preference>,
) -> Result<Pair, Error> {
    let (connection, handle, _) = new_connection().map_err(Error::Start)?;
    tokio::spawn(connection);
    let [device, gateway] = ["device", "gateway"].map(|end| format!("{end}{number}"));
    let veth = LinkVeth::new(&device, &gateway).build();
    handle.link().add(veth).execute().await.map_err(Error::Pair)?;
    let kernel = Kernel::open()?;
    let find = async |name: &str| -> Result<Link, Error> {
        let links = kernel.links().await?;
        let link = links.into_iter().find(|link| link.name == name);
        Ok(link.ok_or_else(|| dataplane::Error::NoInterface(name.into()))?)
    };
    let pair =
        Pair { name, preference, device: find(&device).await?, gateway: find(&gateway).await? };
    for link in [&pair.device, &pair.gateway] {
        let up: LinkMessage = LinkUnspec::new_with_index(link.index).up().build();
        set(&handle, up).await?;
    }
    Ok(pair)
}

async fn set(handle: &Handle, link: LinkMessage) -> Result<(), Error> {
    handle.link().set(link).execute().await.map_err(Error::Pair)
}

/// Loads the program with a policy that knows some of the interfaces.
async fn load(pairs: &[Pair]) -> Result<Dataplane, Error> {
    let known = pairs.iter().filter(|pair| pair.preference.is_some());
    let known: Vec<Link> = known.map(|pair| pair.gateway.clone()).collect();
    let now = jiff::Timestamp::now().as_second();
    let kernel = Kernel::open()?;
    let links = kernel.links().await?;
    let host = kernel.host(&known, &links, now).await?;
    let (policy, problems) = read(CHECK, POLICY, &mut |_| Err(io::ErrorKind::NotFound.into()));
    if !problems.is_empty() {
        return Err(Error::Policy(first(&problems)));
    }
    let compiled = compile(&policy, &host).map_err(|e| Error::Policy(first(&e)))?;
    let root = Path::new(place::BPF.to_str().unwrap_or_default()).join("enforcer");
    Ok(Dataplane::open(Pins::open(&root)?, &compiled.image, Options::default())?)
}

/// Which kernel features the program uses.
fn engine(dataplane: &Dataplane) -> Result<Finding, Error> {
    const CHECK: &str = "engine";
    let kind = match dataplane.kind() {
        Kind::Fragments => "frames in several buffers too",
        Kind::Linear => "frames in one buffer only",
    };
    if dataplane.is_compiled()? {
        return Ok(Finding::ok(CHECK, format!("the program is loaded, as machine code; {kind}")));
    }
    let remedy = "sysctl -w net.core.bpf_jit_enable=1, and in /etc/sysctl.d";
    let text = format!("the program is loaded, and interpreted, which is slow; {kind}");
    Ok(Finding::warning(CHECK, text, remedy))
}

fn try_pair(dataplane: &mut Dataplane, pair: &Pair) -> Result<Finding, Error> {
    let Pair { gateway, device, .. } = pair;
    let mut cases = cases(gateway.mac.0);
    if pair.preference.is_none() {
        // The policy does not know this interface, so all of these must be dropped.
        cases.retain(|case| case.reason.passes());
        cases.iter_mut().for_each(|case| case.reason = Reason::InterfaceUnknown);
    }
    let mut seen = Seen { before: send(pair, &cases, |_| true, || true)?, ..Seen::default() };
    let preference = pair.preference.unwrap_or(Preference::Native);
    match dataplane.protect(gateway.interface(&gateway.name), preference) {
        Ok(_) => {}
        // For example, a kernel may be built without generic XDP: try the other mode anyway.
        Err(e @ dataplane::Error::Attach { .. }) => {
            let why = format!("{}: {}", pair.name, chain(&e));
            return Ok(Finding::unknown(CHECK, why, "report it with `uname -a`"));
        }
        Err(e) => return Err(e.into()),
    }
    let before = counts(dataplane);
    let gained = || -> BTreeMap<Reason, u64> {
        let counts = counts(dataplane).into_iter();
        let gain = |(reason, count): (Reason, u64)| {
            (reason, count.saturating_sub(before.get(&reason).copied().unwrap_or(0)))
        };
        counts.map(gain).filter(|(_, gain)| *gain > 0).collect()
    };
    // On a machine under load a frame may be late.
    let all_counted = || gained().values().sum::<u64>() >= cases.len() as u64;
    seen.arrived = send(pair, &cases, |case| case.reason.passes(), all_counted)?;
    seen.counted = gained();
    log::debug!("{} to {}: {seen:?}", device.name, gateway.name);
    Ok(judge(pair.name, &cases, &seen))
}

/// Frames by reason, since the program was loaded.
fn counts(dataplane: &Dataplane) -> BTreeMap<Reason, u64> {
    let counters = dataplane.reasons().into_iter();
    counters.map(|(reason, counter)| (reason, counter.frames)).collect()
}

/// Sends every case, and returns which arrived. Those that are `expected` are waited for, and so is
/// `is_done`.
fn send(
    pair: &Pair,
    cases: &[FrameContext],
    expected: impl Fn(&FrameContext) -> bool,
    is_done: impl Fn() -> bool,
) -> Result<BTreeSet<usize>, Error> {
    let from = Socket::open(pair.device.index).map_err(Error::Wire)?;
    let to = Socket::open(pair.gateway.index).map_err(Error::Wire)?;
    for case in cases {
        from.send(&case.frame).map_err(Error::Wire)?;
    }
    let position = |number: &usize| {
        // By the mark, because left-out cases keep their numbers.
        cases.iter().position(|case| super::frames::number(&case.frame) == Some(*number))
    };
    let mark = |case: &FrameContext| super::frames::number(&case.frame);
    let expected = cases.iter().filter(|case| expected(case)).filter_map(mark).collect();
    let arrived = to.arrivals(&expected, is_done, PATIENCE, MORE).map_err(Error::Wire)?;
    Ok(arrived.iter().filter_map(position).collect())
}
