//! Known next hops on links with bound next hops.

use std::net::IpAddr;

use enforcer_common::abi;
use enforcer_common::decide::hops::Hop;
use enforcer_common::wire;

use crate::address::numbers;
use crate::image::Hops;
use crate::{Host, HostInterface, Interface, Policy, Problem, Range, Severity};

/// Largest range of a device whose addresses are listed individually.
const MOST_OF_A_DEVICE: u128 = 16;

/// Known MACs by address, for interfaces with bound next hops: those of the policy's devices, which take
/// precedence, and of the gateway's neighbours and routers. Empty if no interface binds next hops.
///
/// The number of entries is limited to the size of the kernel's table; routers are added first.
pub fn hops(policy: &Policy, host: &Host) -> Hops {
    let mut found = Hops::new();
    let most = abi::HOPS as usize;
    for interface in bound(policy, host) {
        let index = interface.index;
        let routers = interface.next_hops.iter().map(|mac| {
            let mac = wire::mac(mac.0);
            (Hop::router(index, mac), mac)
        });
        let neighbours = interface
            .neighbours
            .iter()
            .map(|(address, mac)| (hop(index, *address), wire::mac(mac.0)));
        let devices = policy.devices.iter().filter_map(|device| {
            let mac = wire::mac(device.mac?.0);
            let single = device.addresses.iter().flat_map(|range| addresses(*range));
            Some(single.map(move |address| (hop(index, address), mac)))
        });
        for (hop, mac) in routers.chain(neighbours).chain(devices.flatten()) {
            if found.len() < most || found.contains_key(&hop) {
                found.insert(hop, mac);
            }
        }
    }
    found
}

/// Warnings about frames that have no allowed next hop, and about more entries than the table can hold.
pub(super) fn warnings(policy: &Policy, host: &Host, hops: &Hops) -> Vec<Problem> {
    let warning = |interface: &Interface, message: String, hint: &str| Problem {
        severity: Severity::Warning,
        place: interface.place.clone(),
        message,
        hint: Some(hint.into()),
    };
    let mut found = Vec::new();
    for (declared, known) in pairs(policy, host) {
        if known.on_link.is_empty() {
            let message = format!(
                "the gateway has no address on {}: with `next-hop = \"bound\"`, frames reach devices that \
                 the policy names with `mac` and `ip`, and nobody else",
                declared.name
            );
            found.push(warning(
                declared,
                message,
                "give the bridge an address and a default route",
            ));
        }
        if hops.len() >= abi::HOPS as usize {
            let message = format!("more than {} addresses are known on bound links", abi::HOPS - 1);
            found.push(warning(
                declared,
                message,
                "what is not known is refused: bind fewer links",
            ));
        }
    }
    found
}

fn bound<'a>(policy: &'a Policy, host: &'a Host) -> impl Iterator<Item = &'a HostInterface> {
    pairs(policy, host).map(|(_, known)| known)
}

/// Existing interfaces with bound next hops.
fn pairs<'a>(
    policy: &'a Policy,
    host: &'a Host,
) -> impl Iterator<Item = (&'a Interface, &'a HostInterface)> {
    let declared = policy.interfaces.iter().filter(|declared| declared.binds_next_hops);
    declared.filter_map(|declared| {
        let known = host.interfaces.iter().find(|known| known.name == declared.name)?;
        Some((declared, known))
    })
}

fn hop(index: u32, address: IpAddr) -> Hop {
    let (family, number) = numbers(address);
    Hop::address(index, family, number)
}

/// The addresses of a small range.
fn addresses(range: Range) -> Vec<IpAddr> {
    match range {
        Range::V4(first, last) if u128::from(last - first) < MOST_OF_A_DEVICE => {
            (first..=last).map(|address| IpAddr::V4(address.into())).collect()
        }
        Range::V6(first, last) if last - first < MOST_OF_A_DEVICE => {
            (first..=last).map(|address| IpAddr::V6(address.into())).collect()
        }
        Range::V4(..) | Range::V6(..) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::flow::{Address, FAMILY_V4};

    use super::*;
    use crate::{Mac, OnLink, read};

    const POLICY: &str = "\
schema = 1
[devices.pump]
mac = \"00:1b:44:11:3a:b7\"
ip = [\"10.20.0.12\", \"10.20.0.128/25\"]
[groups.pumps]
members = [\"pump\"]
[interfaces.lan0]
next-hop = \"bound\"
";

    fn host() -> Host {
        let (router, other) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 9]));
        let address: IpAddr = "10.20.0.12".parse().unwrap();
        let host: IpAddr = "fd00::7".parse().unwrap();
        let on_link = OnLink { interface: 3, address: "10.20.0.1".parse().unwrap(), length: 24 };
        let known = |name: &str, index| HostInterface {
            name: name.into(),
            index,
            neighbours: vec![(address, other), (host, other)],
            next_hops: vec![router],
            on_link: vec![on_link],
            ..HostInterface::default()
        };
        Host { interfaces: vec![known("lan0", 7), known("lan1", 8)], ..Host::default() }
    }

    fn policy(text: &str) -> Policy {
        let (policy, problems) = read("p.toml", text, &mut |_| unreachable!("no files"));
        assert!(problems.is_empty(), "{problems:?}");
        policy
    }

    #[test]
    fn who_is_known_on_bound_links() {
        let found = hops(&policy(POLICY), &host());
        let v4 = |last: u32| Hop::address(7, FAMILY_V4, Address::v4(0x0a14_0000 + last));
        let v6 = hop(7, "fd00::7".parse().unwrap());
        let (pump, router, other) = (0x001b_4411_3ab7, 0x0200_0000_0001, 0x0200_0000_0009);
        let expected = [(Hop::router(7, router), router), (v4(12), pump), (v6, other)];
        assert_eq!(found, expected.into(), "the policy's word counts before the neighbour's");
        let any = POLICY.replace("bound", "any");
        assert!(hops(&policy(&any), &host()).is_empty());
    }

    #[test]
    fn a_link_without_an_address_of_the_gateway_is_warned_of() {
        let mut host = host();
        let found = |host: &Host| warnings(&policy(POLICY), host, &Hops::new());
        assert_eq!(found(&host), []);
        host.interfaces[0].on_link.clear();
        let [warning] = found(&host).try_into().unwrap();
        assert!(warning.message.starts_with("the gateway has no address on lan0"), "{warning:?}");
    }
}
