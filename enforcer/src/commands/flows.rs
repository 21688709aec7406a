//! `enforcer flows`: what others have opened towards devices.

use enforcer::api::{Exit, FlowList, FlowRow};
use enforcer::control::client::Client;
use enforcer::policy::live::span;

use super::text::{clean, head, number, table};
use super::{Result, Screen, block_on, print, print_json};

pub(super) fn run(client: &Client, device: Option<&str>, json: bool) -> Result<Exit> {
    let mut list = block_on(async { Ok(client.flows().await?) })?;
    list.flows.retain(|row| device.is_none_or(|device| is_of(row, device)));
    if json {
        print_json(&list.flows)?;
    } else {
        print(&render(&list, Screen::of_stdout().width))?;
    }
    Ok(Exit::Fine)
}

/// Whether a flow is of a device with this name, MAC address or source address.
fn is_of(row: &FlowRow, device: &str) -> bool {
    row.device.as_deref() == Some(device)
        || row.mac.eq_ignore_ascii_case(device)
        || row.ip.eq_ignore_ascii_case(device)
}

fn render(list: &FlowList, width: Option<usize>) -> String {
    let mut out = String::new();
    if list.full > 0 {
        let full = number(list.full);
        out.push_str(&format!(
            "{full} flows found no room in the table: their answers were dropped\n"
        ));
    }
    if list.flows.is_empty() {
        out.push_str("nobody has opened anything that an accept rule covers\n");
        return out;
    }
    let mut rows = vec![head(&["DEVICE", "SERVICE", "OPENED BY", "RULE", "IDLE", "TO", "FROM"])];
    for flow in &list.flows {
        let peer = match flow.peer_port {
            Some(port) if flow.peer.contains(':') => format!("[{}]:{port}", flow.peer),
            Some(port) => format!("{}:{port}", flow.peer),
            None => flow.peer.clone(),
        };
        rows.push(vec![
            clean(flow.device.as_deref().unwrap_or(&flow.ip)),
            flow.service.clone(),
            peer,
            flow.rule.clone().unwrap_or_else(|| "-".to_owned()),
            span(flow.idle),
            number(flow.frames_to),
            number(flow.frames_from),
        ]);
    }
    out.push_str(&table(&rows, &[4, 5, 6], &[0, 2], width));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> FlowRow {
        FlowRow {
            device: Some("bed-12".into()),
            mac: "00:1b:44:11:3a:b7".into(),
            ip: "10.20.0.12".into(),
            service: "tcp/22".into(),
            peer: "10.30.0.9".into(),
            peer_port: Some(50_123),
            rule: Some("r-1a2b3c4d".into()),
            idle: 14,
            frames_to: 1_200,
            frames_from: 904,
            ..FlowRow::default()
        }
    }

    #[test]
    fn eighty_columns() {
        let echo = FlowRow {
            device: None,
            service: "icmp".into(),
            peer: "2001:db8::7".into(),
            peer_port: None,
            rule: None,
            ..flow()
        };
        let list = FlowList { flows: vec![flow(), echo], full: 0 };
        let expected = "\
DEVICE      SERVICE  OPENED BY        RULE        IDLE     TO  FROM
bed-12      tcp/22   10.30.0.9:50123  r-1a2b3c4d   14s  1,200   904
10.20.0.12  icmp     2001:db8::7      -            14s  1,200   904
";
        assert_eq!(render(&list, Some(80)), expected);
        let empty = FlowList { full: 3, ..FlowList::default() };
        assert!(render(&empty, None).starts_with("3 flows found no room"));
    }

    #[test]
    fn a_device_by_each_of_its_names() {
        for name in ["bed-12", "00:1B:44:11:3a:b7", "10.20.0.12"] {
            assert!(is_of(&flow(), name), "{name}");
        }
        assert!(!is_of(&flow(), "bed-1"));
    }
}
