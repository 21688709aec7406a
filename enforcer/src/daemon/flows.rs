//! What others have opened towards devices, for the socket.

use enforcer_common::flow::Flow;
use enforcer_common::wire::mac_bytes;

use super::active::{Active, ip};
use crate::api::{FlowList, FlowRow};
use crate::dataplane::{Flows, Noted};
use crate::image::{HostImage, Time};
use crate::policy::{Mac, Service};

/// The flows with names, by the policy in force.
pub(super) fn list(names: &Active, flows: &Flows, now: Time) -> FlowList {
    let (image, symbols) = (HostImage::at(&names.compiled.image, now), names.symbols());
    let row = |noted: &Noted| {
        let flow = &noted.flow;
        let case = image.accepts(*flow);
        let decision = case.decision;
        let rule = symbols.rule(decision.rule);
        let address = |end| ip(flow.family, end).map_or_else(String::new, |ip| ip.to_string());
        let since = |then: u64| (now.boot as u64).saturating_sub(then);
        let [frames_to, bytes_to, frames_from, bytes_from] = noted.counts;
        FlowRow {
            device: symbols.device(decision.device, flow).map(ToString::to_string),
            mac: Mac(mac_bytes(flow.source_mac)).to_string(),
            ip: address(flow.source),
            interface: names.interface(flow.interface).unwrap_or_default().to_owned(),
            group: names.group_name(decision.group).0.to_owned(),
            service: service(flow).to_string(),
            peer: address(flow.destination),
            peer_port: has_ports(flow).then_some(flow.destination_port),
            rule: rule.map(|rule| rule.id.to_string()),
            age: since(noted.created),
            idle: since(noted.seen),
            answered: noted.answered,
            frames_to,
            bytes_to,
            frames_from,
            bytes_from,
        }
    };
    let mut rows: Vec<FlowRow> = flows.noted.iter().map(row).collect();
    rows.sort_by(|a, b| {
        let key = |row: &FlowRow| (row.device.is_none(), row.device.clone(), row.ip.clone());
        key(a)
            .cmp(&key(b))
            .then_with(|| a.service.cmp(&b.service))
            .then_with(|| a.peer.cmp(&b.peer))
    });
    FlowList { flows: rows, full: flows.full }
}

/// The service of the device that a noted flow is about.
pub(super) fn service(flow: &Flow) -> Service {
    if has_ports(flow) {
        Service::ports(flow.protocol, flow.source_port, flow.source_port)
    } else {
        Service::protocol(flow.protocol)
    }
}

/// Whether a noted flow has ports.
fn has_ports(flow: &Flow) -> bool {
    flow.source_port != 0 || flow.destination_port != 0
}
