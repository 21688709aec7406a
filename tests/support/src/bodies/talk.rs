//! Frames in both directions, one after the other, by a fixed policy.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::OnceLock;

use enforcer_common::decide::answers::{Size, counter, has_echo};
use enforcer_common::decide::asked::{ENTRIES, WINDOW};
use enforcer_common::decide::{Decision, Policy as _};
use enforcer_common::flow::{Address, Class, FAMILY_NONE, FAMILY_V4, Flow, Fragment};
use enforcer_common::image::NO_RULE;
use enforcer_common::reason::{Reason, Verdict};
use enforcer_common::wire::{protocol, tcp};
use enforcer_policy::image::HostImage;
use enforcer_policy::{Action, Compiled, DefaultVerdict, Mode, Policy, Rule, To, compile, read};

use crate::random::{self, NOW};

/// The policy, in the world of [`random`].
pub const POLICY: &str = include_str!("talk.toml");

/// Most frames of an input.
const MOST: usize = 64;

fn fixed() -> &'static (Policy, Compiled) {
    static FIXED: OnceLock<(Policy, Compiled)> = OnceLock::new();
    FIXED.get_or_init(|| {
        let (policy, problems) = read("talk.toml", POLICY, &mut |_| unreachable!("no files"));
        assert!(problems.iter().all(|problem| !problem.message.is_empty()), "{problems:?}");
        let compiled = compile(&policy, &random::host()).expect("the fixed policy compiles");
        (policy, compiled)
    })
}

/// Both ends of a datagram or an echo in the device's view.
type Ends = (u64, u128, u128, u8, [u16; 3]);

fn number(address: Address) -> u128 {
    address.to_v6()
}

fn ends(flow: &Flow) -> Ends {
    let echo = has_echo(flow.protocol);
    let has_ports = matches!(flow.protocol, protocol::UDP | protocol::SCTP);
    let ports = match (echo, has_ports) {
        (true, _) => [0, 0, flow.echo],
        (_, true) => [flow.source_port, flow.destination_port, 0],
        _ => [0; 3],
    };
    let vlan = u64::from(flow.vlan()) << 48;
    (flow.source_mac | vlan, number(flow.source), number(flow.destination), flow.protocol, ports)
}

/// The input is frames, each with a byte for its direction and a byte for its length.
///
/// What a device sends makes no entry in the table of answers, and stays in its window of the table of questions. What
/// is sent to a device passes only by a rule, as essential, or if it was asked for; what floods an interface only by a rule
/// of it, or as essential.
pub fn run(input: &[u8]) {
    let (policy, compiled) = fixed();
    let world = HostImage::new(&compiled.image, NOW);
    let last = Size::USUAL.lines() - 1;
    let counted = |which: usize| world.answers(last).expect("the last line")[which].get();
    let (mut asked, mut rest) = (HashSet::new(), input);
    let mut senders = HashSet::new();
    for _ in 0..MOST {
        let &[direction, length, ref frames @ ..] = rest else { break };
        let length = usize::from(length).min(frames.len());
        let (frame, after) = frames.split_at(length);
        rest = after;
        if direction % 2 == 0 {
            let noted = counted(counter::NOTED);
            let again = world.answers_again(frame, 1);
            let case = world.decide(frame, 1);
            if let Some(rule) = again {
                let Decision { reason, rule: judged, .. } = case.decision;
                assert_eq!((reason, judged), (Reason::Answer, rule), "{:?}", case.flow);
            }
            assert_eq!(counted(counter::NOTED), noted, "a device made an entry: {:?}", case.flow);
            let by_rule = matches!(case.decision.reason, Reason::Allow | Reason::DefaultPass);
            if by_rule && !case.flow.fragment.is_later() {
                senders.insert(case.flow.source_mac);
                asked.insert(ends(&case.flow));
            }
        } else if let Some(case) = world.send(frame, 1) {
            inwards(policy, &case.flow, case.decision, &asked);
        }
    }
    if senders.len() == 1 && rest.len() % 16 == 0 {
        let is_used = |at: &u32| world.question(*at).is_some_and(|[_, time]| time.get() != 0);
        let used = (0..ENTRIES).filter(is_used).count();
        assert!(used <= WINDOW as usize);
    }
}

/// Compares a verdict on a frame towards a device with the rules.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other reason is one of such frames")]
fn inwards(policy: &Policy, flow: &Flow, decision: Decision, asked: &HashSet<Ends>) {
    let reason = decision.reason;
    assert_eq!(decision.verdict == Verdict::Pass, reason.passes(), "{decision:?}");
    if reason == Reason::Flooded || flow.source_mac & 1 << 40 != 0 {
        floods(&policy.interfaces[0].accept, flow, decision);
        return;
    }
    let Some(group) = decision.group.checked_sub(1) else {
        // Whose frame it is cannot be read.
        assert_eq!(reason, Reason::InboundMalformed, "{decision:?} {flow:?}");
        assert_ne!(flow.fault, 0, "{flow:?}");
        return;
    };
    let group = &policy.groups[group as usize];
    let shut = group.inbound == DefaultVerdict::Drop;
    let essential = flow.class != Class::Ip || flow.fault != 0 || is_query(flow);
    let rules = |action| by(group.rules(action), flow);
    if flow.fragment.is_later() {
        return;
    }
    match reason {
        Reason::InboundPass => assert!(!shut || essential, "{group:?} {flow:?}"),
        Reason::InboundMalformed => assert!(shut || !group.refuse.is_empty()),
        Reason::Refuse => assert!(rules(Action::Refuse)),
        Reason::Accept => {
            assert!(rules(Action::Accept) && !rules(Action::Refuse));
            assert_ne!(group.mode, Mode::Quarantine);
        }
        Reason::InboundDrop => {
            assert!(shut && !rules(Action::Refuse));
            assert!(group.mode == Mode::Quarantine || !rules(Action::Accept));
        }
        Reason::Asked => {
            assert!(shut && !rules(Action::Refuse) && group.mode != Mode::Quarantine);
            let opens = flow.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN;
            let is_tcp = flow.protocol == protocol::TCP;
            assert!(if is_tcp { !opens } else { asked.contains(&ends(flow)) }, "{flow:?}");
        }
        Reason::Related => assert!(has_echo(flow.protocol), "{flow:?}"),
        _ => panic!("{decision:?} {flow:?}"),
    }
}

/// Compares a verdict on a frame to a group of receivers with the accept rules of the interface.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other reason is one of such frames")]
fn floods(accept: &[Rule], flow: &Flow, decision: Decision) {
    assert_eq!(decision.group, 0, "{decision:?}");
    assert_eq!(decision.rule != NO_RULE, decision.reason == Reason::Accept, "{decision:?}");
    match decision.reason {
        Reason::InboundPass => {
            assert!(flow.fault == 0 && (flow.class != Class::Ip || is_query(flow)), "{flow:?}");
        }
        Reason::Accept => {
            assert_eq!(flow.fault, 0, "{flow:?}");
            // A later fragment has the port of the first one.
            assert!(flow.fragment.is_later() || by(accept, flow), "{flow:?}");
        }
        // A fragment may be out of order.
        Reason::Flooded => {
            let whole = flow.fault == 0 && flow.fragment == Fragment::Whole;
            assert!(!whole || flow.family == FAMILY_NONE || !by(accept, flow), "{flow:?}");
        }
        _ => panic!("{decision:?} {flow:?}"),
    }
}

/// Whether a frame is of IGMP to a group, which is essential.
fn is_query(flow: &Flow) -> bool {
    flow.protocol == protocol::IGMP && flow.source.to_v4() >> 28 == 0xe
}

/// Whether one of these rules covers a frame towards devices.
fn by(rules: &[Rule], flow: &Flow) -> bool {
    let peer = if flow.family == FAMILY_V4 {
        IpAddr::V4(flow.destination.to_v4().into())
    } else {
        IpAddr::V6(flow.destination.to_v6().into())
    };
    let holds = |rule: &Rule| match &rule.to {
        To::Any => true,
        To::Range(range) => range.contains(peer),
        To::Set(set) => set.ranges.iter().any(|range| range.contains(peer)),
        To::Gateway | To::Local => unreachable!("not in this policy"),
    };
    let service = flow.own_service();
    // Protocols without ports have no number beside that of the protocol.
    let covers = |rule: &Rule| rule.services.iter().any(|own| own.contains(service));
    rules.iter().any(|rule| holds(rule) && covers(rule))
}
