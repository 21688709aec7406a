//! An event as one line of text, and as flat fields: for logs and small screens.

use crate::api::{Event, TAMPER};
use crate::shown::plain;

/// Names and values that an event has, without nesting.
pub type Fields = Vec<(&'static str, String)>;

/// The event in one line: `DROP bed-12 202.114.4.119 tcp/515 deny r-1a2b3c4d ICSMA-25-030-01`.
pub fn line(event: &Event) -> String {
    let detail = &event.enforcer;
    let head = match (event.event_type.as_str(), detail.verdict.as_deref()) {
        ("drop", Some("would-drop")) => "would".to_owned(),
        (kind, _) => kind.to_uppercase(),
    };
    let mut parts = vec![head];
    if event.event_type != TAMPER && detail.count > 1 {
        parts.push(format!("×{}", detail.count));
    }
    let about_a_frame = event.ether.is_some() || event.dest_ip.is_some();
    if about_a_frame || detail.device.is_some() {
        parts.push(device(event));
    }
    if about_a_frame {
        parts.push(destination(event));
    }
    let more = [&detail.reason, &detail.rule, &detail.rule_reason, &detail.message];
    parts.extend(more.into_iter().flatten().cloned());
    if detail.suppressed > 0 {
        parts.push(format!("+{} suppressed", detail.suppressed));
    }
    plain(&parts.join(" "))
}

/// Who sent the frame: a name, else the MAC, else the source address.
pub fn device(event: &Event) -> String {
    let mac = event.ether.as_ref().map(|ether| ether.src_mac.as_str());
    let name = event.enforcer.device.as_deref().or(mac).or(event.src_ip.as_deref());
    plain(name.unwrap_or("-"))
}

/// Where it went: `202.114.4.119 tcp/515`; a MAC and an EtherType of what is not IP.
pub fn destination(event: &Event) -> String {
    match (&event.dest_ip, &event.ether) {
        (Some(ip), _) => format!("{ip} {}", service(event)).trim_end().to_owned(),
        (None, Some(ether)) => format!("{} type 0x{:04x}", ether.dest_mac, ether.ether_type),
        (None, None) => "-".to_owned(),
    }
}

/// The service as a policy writes it: `tcp/515`, `icmp`, `proto/47`; empty of what is not IP.
pub fn service(event: &Event) -> String {
    let proto = match event.proto.as_deref() {
        None => return String::new(),
        Some("IPv6-ICMP") => "icmpv6".to_owned(),
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("proto/{number}")
        }
        Some(name) => name.to_lowercase(),
    };
    event.dest_port.map_or(proto.clone(), |port| format!("{proto}/{port}"))
}

/// Everything that an event has, by the names of its JSON.
pub fn fields(event: &Event) -> Fields {
    let detail = &event.enforcer;
    let ether = event.ether.as_ref();
    let vlan: Vec<String> = event.vlan.iter().map(ToString::to_string).collect();
    let texts = [
        ("event_type", Some(&event.event_type)),
        ("verdict", detail.verdict.as_ref()),
        ("reason", detail.reason.as_ref()),
        ("device", detail.device.as_ref()),
        ("group", detail.group.as_ref()),
        ("rule", detail.rule.as_ref()),
        ("rule_reason", detail.rule_reason.as_ref()),
        ("message", detail.message.as_ref()),
        ("in_iface", event.in_iface.as_ref()),
        ("src_mac", ether.map(|ether| &ether.src_mac)),
        ("dest_mac", ether.map(|ether| &ether.dest_mac)),
        ("src_ip", event.src_ip.as_ref()),
        ("dest_ip", event.dest_ip.as_ref()),
        ("proto", event.proto.as_ref()),
    ];
    let numbers = [
        ("ether_type", ether.map(|ether| ether.ether_type.into())),
        ("src_port", event.src_port.map(u64::from)),
        ("dest_port", event.dest_port.map(u64::from)),
        ("pkt_len", event.pkt_len.map(u64::from)),
        ("generation", Some(detail.generation)),
        ("revision", Some(detail.revision)),
        ("count", Some(detail.count)),
        ("suppressed", Some(detail.suppressed)),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name, plain(text?))));
    let vlan = (!vlan.is_empty()).then(|| ("vlan", vlan.join(",")));
    let numbers = numbers.into_iter().filter_map(|(name, n)| Some((name, n?.to_string())));
    texts.chain(vlan).chain(numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Detail, Ether};
    use crate::control::filter::tests::event;

    #[test]
    fn lines() {
        let mut event = event();
        assert_eq!(
            line(&event),
            format!(
                "DROP {} {} {}",
                device(&event),
                destination(&event),
                [&event.enforcer.reason, &event.enforcer.rule, &event.enforcer.rule_reason]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(" ")
            )
        );
        event.enforcer = Detail {
            verdict: Some("would-drop".into()),
            reason: Some("default-drop".into()),
            device: Some("bed\n12".into()),
            count: 3,
            suppressed: 7,
            ..Detail::default()
        };
        event.dest_ip = Some("2001:db8::1".into());
        event.proto = Some("IPv6-ICMP".into());
        event.dest_port = None;
        let expected = "would ×3 bed\u{fffd}12 2001:db8::1 icmpv6 default-drop +7 suppressed";
        assert_eq!(line(&event), expected);
        event.dest_ip = None;
        event.ether = Some(Ether {
            src_mac: "02:00:00:00:00:01".into(),
            dest_mac: "01:80:c2:00:00:0e".into(),
            ether_type: 0x88cc,
        });
        assert_eq!(destination(&event), "01:80:c2:00:00:0e type 0x88cc");
        let lost = crate::control::hub::lost("ring-full", 12, 3, 2);
        assert_eq!(line(&lost), "LOST ×12 ring-full");
    }

    #[test]
    fn fields_are_flat() {
        let mut event = event();
        event.vlan = vec![20, 30];
        let fields = fields(&event);
        assert!(fields.contains(&("vlan", "20,30".into())), "{fields:?}");
        assert!(fields.contains(&("event_type", "drop".into())), "{fields:?}");
        assert!(fields.iter().all(|(_, value)| !value.is_empty()), "{fields:?}");
    }
}
