//! The branch that the operator sits on.

use std::net::IpAddr;

use enforcer_common::flow::{Address, Class, FAMILY_V4, FAMILY_V6, Flow};
use enforcer_common::reason::Verdict;
use enforcer_common::wire::{self, protocol};
use jiff::Timestamp;

use super::core::Core;
use super::failure;
use super::in_force::InForce;
use crate::api::{Failure, Session};
use crate::exit::Exit;
use crate::image::HostImage;
use crate::site::way::Way;

impl Core {
    /// Refuses what would cut the operator's own session, where what is in force does not.
    pub(super) async fn spare_session(
        &self,
        session: Option<Session>,
        next: &InForce,
    ) -> Result<(), Failure> {
        let Some(session) = session else { return Ok(()) };
        let way = self.kernel.way_to(session.peer.ip()).await.map_err(|e| failure(&e.into()))?;
        let Some(mut way) = way else { return Ok(()) };
        if !self.guarded.iter().any(|guarded| guarded.index == way.interface) {
            // A bridge: the session arrives at one of its ports.
            let Some(port) = self.port_below(way.interface).await else { return Ok(()) };
            way.interface = port;
        }
        if passes(&self.in_force, session, way) && !passes(next, session, way) {
            return Err(Failure {
                error: format!(
                    "this would cut off your own session from {}, which arrives on {}",
                    session.peer.ip(),
                    next.interface(way.interface).unwrap_or("a protected interface")
                ),
                hint: Some(
                    "give --confirm 90s, so that it returns by itself, or --force if you mean it"
                        .into(),
                ),
                exit: Exit::Problems as u8,
            });
        }
        Ok(())
    }

    /// A protected interface that is a port of the interface `upper`.
    async fn port_below(&self, upper: u32) -> Option<u32> {
        let links = self.kernel.links().await.ok()?;
        let upper = &links.iter().find(|link| link.index == upper)?.name;
        let is_below = |name: &str| {
            std::path::Path::new("/sys/class/net")
                .join(upper)
                .join(format!("lower_{name}"))
                .exists()
        };
        self.guarded.iter().find(|guarded| is_below(&guarded.name)).map(|guarded| guarded.index)
    }
}

/// Whether frames of the session pass.
fn passes(names: &InForce, session: Session, way: Way) -> bool {
    let mut flow = Flow::NEW;
    flow.class = Class::Ip;
    flow.interface = way.interface;
    flow.source_mac = way.mac.map_or(0, |mac| wire::mac(mac.0));
    flow.protocol = protocol::TCP;
    (flow.source_port, flow.destination_port) = (session.peer.port(), session.local.port());
    match (session.peer.ip(), session.local.ip()) {
        (IpAddr::V4(peer), IpAddr::V4(local)) => {
            flow.family = FAMILY_V4;
            flow.source = Address::v4(peer.into());
            flow.destination = Address::v4(local.into());
        }
        (IpAddr::V6(peer), IpAddr::V6(local)) => {
            flow.family = FAMILY_V6;
            flow.source = Address::v6(peer.octets());
            flow.destination = Address::v6(local.octets());
        }
        _ => return true,
    }
    let now = Timestamp::now().as_second();
    let case = HostImage::new(&names.compiled.image, now).judge(flow);
    case.decision.verdict != Verdict::Drop
}
