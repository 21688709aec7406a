//! Refuses changes that would cut off the operator's own session.

use enforcer_common::flow::{Class, Flow};
use enforcer_common::reason::Verdict;
use enforcer_common::wire::{self, protocol};

use super::active::Active;
use super::core::Core;
use super::failure;
use crate::api::{ErrorCode, Failure, Guard, Session};
use crate::host::Link;
use crate::host::route::Route;
use crate::image::{HostImage, Time};
use crate::policy::address::numbers;

/// Hint for a change that is intended.
pub(super) const FORCE: &str = "give --force if you mean it";
/// Hint for an apply, which can also revert by itself.
pub(super) const CONFIRM_OR_FORCE: &str =
    "give --confirm 90s, so that it returns by itself, or --force if you mean it";
/// Most interfaces stacked between the session's and a protected one.
const DEEPEST: usize = 8;

impl Core {
    /// Refuses a policy that would cut off the operator's session, if the active one does not.
    pub(super) async fn spare_session(
        &self,
        guard: Guard,
        next: &Active,
        hint: &str,
    ) -> Result<(), Failure> {
        self.spare_session_in(&self.engine.active, guard, next, hint).await
    }

    /// The same, for `next` as the replacement of `before`.
    pub(super) async fn spare_session_in(
        &self,
        before: &Active,
        guard: Guard,
        next: &Active,
        hint: &str,
    ) -> Result<(), Failure> {
        let Guard { force: false, session: Some(session) } = guard else { return Ok(()) };
        let route =
            self.kernel.route_to(session.peer.ip()).await.map_err(|e| failure(&e.into()))?;
        let Some(route) = route else { return Ok(()) };
        let links = self.kernel.links().await.map_err(|e| failure(&e.into()))?;
        let guarded: Vec<u32> = self.guarded.iter().map(|guarded| guarded.index).collect();
        let now = self.clock.now();
        let cut = arrivals(&links, &guarded, route.interface).into_iter().find(|arrival| {
            passes(before, session, route, arrival, now)
                && !passes(next, session, route, arrival, now)
        });
        let Some(arrival) = cut else { return Ok(()) };
        let interface = next.interface(arrival.interface).unwrap_or("a protected interface");
        let peer = session.peer.ip();
        Err(Failure {
            error: format!(
                "this would cut off your own session from {peer}, which arrives on {interface}"
            ),
            hint: Some(hint.into()),
            code: ErrorCode::Refused,
        })
    }
}

/// How a frame may arrive at a protected interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Arrival {
    /// Index of the protected interface.
    interface: u32,
    /// VLAN ids of the frame, outermost first; 0 for none.
    vlans: [u16; 2],
}

/// How frames from `upper` may arrive: at any protected port below its bridges, with the tags of the VLAN
/// devices in between. Below a bridge they may also be untagged, because the bridge can add the tag.
fn arrivals(links: &[Link], guarded: &[u32], upper: u32) -> Vec<Arrival> {
    let mut found = Vec::new();
    let mut looked_at = vec![Arrival { interface: upper, vlans: [0, 0] }];
    for _ in 0..DEEPEST {
        let mut below = Vec::new();
        for at in looked_at {
            if guarded.contains(&at.interface) {
                found.push(at);
                continue;
            }
            let Some(link) = links.iter().find(|link| link.index == at.interface) else { continue };
            let vlans = match link.vlan {
                // A frame with two tags that gets a third is dropped for it.
                Some(id) => [id, at.vlans[0]],
                None => at.vlans,
            };
            below.extend(link.lower.map(|interface| Arrival { interface, vlans }));
            let ports = links.iter().filter(|port| port.controller == Some(link.index));
            for interface in ports.map(|port| port.index) {
                below.push(Arrival { interface, vlans });
                if vlans != [0, 0] {
                    below.push(Arrival { interface, vlans: [0, 0] });
                }
            }
        }
        looked_at = below;
    }
    found
}

/// Whether the session's frames pass.
fn passes(names: &Active, session: Session, route: Route, arrival: &Arrival, now: Time) -> bool {
    let mut flow = Flow::NEW;
    flow.class = Class::Ip;
    (flow.interface, flow.vlans) = (arrival.interface, arrival.vlans);
    flow.source_mac = route.mac.map_or(0, |mac| wire::mac(mac.0));
    flow.protocol = protocol::TCP;
    (flow.source_port, flow.destination_port) = (session.peer.port(), session.local.port());
    let on = names.host.interfaces.iter().find(|known| known.index == arrival.interface);
    flow.destination_mac = on.map_or(0, |on| wire::mac(on.mac.0));
    let (peer, local) = (numbers(session.peer.ip()), numbers(session.local.ip()));
    if peer.0 != local.0 {
        return true;
    }
    (flow.family, flow.source) = peer;
    (_, flow.destination) = local;
    let case = HostImage::at(&names.compiled.image, now).judge(flow);
    case.decision.verdict != Verdict::Drop
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, lower: u32, controller: u32, vlan: u16) -> Link {
        Link {
            index,
            lower: Some(lower).filter(|index| *index != 0),
            controller: Some(controller).filter(|index| *index != 0),
            vlan: Some(vlan).filter(|id| *id != 0),
            ..Link::default()
        }
    }

    fn at(interface: u32, vlans: [u16; 2]) -> Arrival {
        Arrival { interface, vlans }
    }

    #[test]
    fn a_session_arrives_below_vlans_and_bridges() {
        // lan0 (2) with VLAN 20 (5), and 30 (6) inside it; br0 (7) of lan1 (3) and lan2 (4), with VLAN 40
        // (8).
        let links = [
            link(2, 0, 0, 0),
            link(3, 0, 7, 0),
            link(4, 0, 7, 0),
            link(5, 2, 0, 20),
            link(6, 5, 0, 30),
            link(7, 0, 0, 0),
            link(8, 7, 0, 40),
        ];
        let guarded = [2, 3];
        assert_eq!(arrivals(&links, &guarded, 2), [at(2, [0, 0])]);
        assert_eq!(arrivals(&links, &guarded, 5), [at(2, [20, 0])]);
        assert_eq!(arrivals(&links, &guarded, 6), [at(2, [20, 30])]);
        assert_eq!(arrivals(&links, &guarded, 7), [at(3, [0, 0])]);
        assert_eq!(arrivals(&links, &guarded, 8), [at(3, [40, 0]), at(3, [0, 0])]);
        assert_eq!(arrivals(&links, &guarded, 9), []);
        // Two interfaces on top of each other, which no kernel allows.
        let round = [link(5, 6, 0, 1), link(6, 5, 0, 2)];
        assert_eq!(arrivals(&round, &guarded, 5), []);
    }
}
