//! An event as a line for people.

use std::collections::HashMap;

use enforcer::api::{Event, LOST, SUPPRESSED, TAMPER};
use enforcer::control::hub::SLOW_READER;

use super::super::names::Names;
use super::super::text::{clean, number, pack};
use super::super::{BOLD, RED, Screen, YELLOW};

/// The reasons in words, by name.
pub(super) type Words = HashMap<String, String>;

/// Width of the time and the verdict; what does not fit on the first line stands below the
/// device.
const INDENT: usize = 19;

/// What lines are made with.
pub(super) struct Renderer {
    pub(super) words: Words,
    pub(super) names: Names,
    pub(super) screen: Screen,
}

impl Renderer {
    /// The line of an event; more than one where it does not fit.
    pub(super) fn render(&mut self, event: &Event) -> String {
        let detail = &event.enforcer;
        let time = clean(event.timestamp.get(11..23).unwrap_or(&event.timestamp));
        if event.event_type == LOST {
            let verdict = self.screen.paint(YELLOW, "LOST ");
            return format!("{time} {verdict} {}", loss(event));
        }
        if event.event_type == TAMPER {
            let text = clean(detail.message.as_deref().unwrap_or_default());
            return format!("{time} {} {text}", self.screen.paint(RED, "TAMPER"));
        }
        let (verdict, style) = match detail.verdict.as_deref() {
            Some("drop") => ("DROP ", RED),
            Some("would-drop") => ("would", YELLOW),
            Some(_) | None => ("?    ", BOLD),
        };
        // Columns line up as long as nothing is unusually long.
        let device = device(event);
        let (first, parts) = if event.event_type == SUPPRESSED {
            let count = format!("×{} not shown", number(detail.count));
            (format!("{time} {verdict} {device:<12} {count:<21}"), vec![self.why(event)])
        } else {
            let first = format!("{time} {verdict} {device:<12} {:<21}", destination(event));
            (first, self.parts(event))
        };
        let laid_out = pack(&first, &parts, INDENT, self.screen.width);
        // Colours have no width: they come after the line is laid out.
        laid_out.replacen(verdict, &self.screen.paint(style, verdict), 1)
    }

    /// What stands behind the destination.
    fn parts(&mut self, event: &Event) -> Vec<String> {
        let detail = &event.enforcer;
        let mut parts = Vec::new();
        let service = event.proto.as_deref().zip(event.dest_port);
        if let Some(name) = service.and_then(|(proto, port)| self.names.service(proto, port)) {
            parts.push(clean(name));
        }
        if let Some(repeats) = repeats(event) {
            parts.push(repeats);
        }
        parts.push(self.why(event));
        if detail.device.is_none() {
            // Who is it? Maker, address and group are all that there is to say.
            if let Some(ether) = &event.ether {
                if let Some(maker) = self.names.maker(&ether.src_mac) {
                    parts.push(clean(maker));
                }
                if let Some(ip) = &event.src_ip {
                    parts.push(format!("from {}", clean(ip)));
                }
            }
            if let Some(group) = &detail.group {
                parts.push(format!("in {}", clean(group)));
            }
        }
        parts
    }

    /// The rule and why it is there, or the reason in words.
    fn why(&self, event: &Event) -> String {
        let detail = &event.enforcer;
        let name = detail.reason.as_deref().unwrap_or("unknown reason");
        let Some(rule) = &detail.rule else {
            return clean(self.words.get(name).unwrap_or(&name.replace('-', " ")));
        };
        let mut text = format!("{} {rule}", name.replace('-', " "));
        if let Some(reason) = &detail.rule_reason {
            text.push(' ');
            text.push_str(reason);
        }
        clean(&text)
    }
}

/// `×18,204 in 5 s`: this frame, and those of its flow that had no line since the last one.
fn repeats(event: &Event) -> Option<String> {
    let detail = &event.enforcer;
    let count = detail.count + detail.repeats;
    if count < 2 {
        return None;
    }
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let since = detail.repeats_since.as_deref().and_then(time).zip(time(&event.timestamp));
    let Some((since, now)) = since else { return Some(format!("×{}", number(count))) };
    let seconds = now.duration_since(since).as_secs().unsigned_abs();
    let time = match seconds {
        0..1 => "1 s".to_owned(),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200.. => format!("{} h", number(seconds / 3600)),
    };
    Some(format!("×{} in {time}", number(count)))
}

fn loss(event: &Event) -> String {
    let detail = &event.enforcer;
    let count = number(detail.count);
    if detail.reason.as_deref() == Some(SLOW_READER) {
        return format!("{count} lines lost: this terminal read too slowly");
    }
    let of = match (&detail.device, &detail.mac) {
        (None, None) => String::new(),
        _ => format!(" of {}", device(event)),
    };
    format!("{count} events{of} lost: more than the kernel's ring could take")
}

/// The device by the best name that there is.
pub(super) fn device(event: &Event) -> String {
    let mac = event.ether.as_ref().map(|ether| &ether.src_mac);
    let mac = mac.or(event.enforcer.mac.as_ref());
    let name = event.enforcer.device.as_ref().or(mac).or(event.src_ip.as_ref());
    let nobody = if event.event_type == SUPPRESSED { "others" } else { "-" };
    name.map_or_else(|| nobody.to_owned(), |name| clean(name))
}

/// `202.114.4.119 tcp/515`, `2001:db8::1 ipv6-icmp`, or of what is not IP
/// `01:80:c2:00:00:0e type 0x88cc`.
fn destination(event: &Event) -> String {
    let Some(ip) = &event.dest_ip else {
        return event.ether.as_ref().map_or_else(
            || "-".to_owned(),
            |ether| format!("{} type 0x{:04x}", clean(&ether.dest_mac), ether.ether_type),
        );
    };
    let mut text = clean(ip);
    if let Some(proto) = &event.proto {
        let proto = proto.to_lowercase();
        let is_number = proto.bytes().all(|byte| byte.is_ascii_digit());
        text.push_str(if is_number { " proto/" } else { " " });
        text.push_str(&clean(&proto));
    }
    if let Some(port) = event.dest_port {
        text.push_str(&format!("/{port}"));
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use enforcer::api::{Detail, Ether};

    const TERMINAL: Screen = Screen { width: Some(80), colour: false };

    pub(in super::super) fn event() -> Event {
        Event {
            timestamp: "2026-11-23T12:03:04.123456+01:00".into(),
            event_type: "drop".into(),
            in_iface: Some("lan0".into()),
            vlan: Vec::new(),
            ether: Some(Ether {
                src_mac: "00:1b:44:11:3a:b7".into(),
                dest_mac: "01:80:c2:00:00:0e".into(),
                ether_type: 0x88cc,
            }),
            src_ip: Some("10.20.0.12".into()),
            src_port: Some(40000),
            dest_ip: Some("202.114.4.119".into()),
            dest_port: Some(515),
            proto: Some("TCP".into()),
            pkt_len: Some(74),
            enforcer: Detail {
                verdict: Some("drop".into()),
                reason: Some("deny".into()),
                device: Some("bed-12".into()),
                group: Some("monitors".into()),
                rule: Some("r-1a2b3c4d".into()),
                rule_reason: Some("CHG-1".into()),
                generation: 3,
                revision: 2,
                count: 1,
                ..Detail::default()
            },
            packet: None,
            packet_info: None,
        }
    }

    fn render(event: &Event, words: &Words, screen: Screen) -> String {
        let names = Names::from_texts("printer 515/tcp spooler\ndomain 53/udp\n", MAKERS);
        Renderer { words: words.clone(), names, screen }.render(event)
    }

    const MAKERS: &str = "00-1B-44   (hex)\t\tSanDisk Corporation\n";

    pub(in super::super) fn words() -> Words {
        [("default".to_owned(), "no rule allows it".to_owned())].into()
    }

    fn default() -> Event {
        let mut event = event();
        event.enforcer.reason = Some("default".into());
        event.enforcer.rule = None;
        event.enforcer.rule_reason = None;
        event
    }

    #[test]
    fn a_rule_decided() {
        assert_eq!(
            render(&event(), &words(), TERMINAL),
            "12:03:04.123 DROP  bed-12       202.114.4.119 tcp/515  printer\n                   \
             deny r-1a2b3c4d CHG-1"
        );
    }

    #[test]
    fn what_does_not_fit_stands_below() {
        let mut event = event();
        event.enforcer.rule_reason = Some("ICSMA-25-030-01".into());
        event.enforcer.repeats = 18_203;
        event.enforcer.repeats_since = Some("2026-11-23T12:02:59.100000+01:00".into());
        assert_eq!(
            render(&event, &words(), TERMINAL),
            "12:03:04.123 DROP  bed-12       202.114.4.119 tcp/515  printer  ×18,204 in 5 s\n\
             \x20                  deny r-1a2b3c4d ICSMA-25-030-01"
        );
        assert!(!render(&event, &words(), Screen::default()).contains('\n'), "one line in a pipe");
        for (since, text) in [
            ("2026-11-23T12:03:04.000000+01:00", "×18,204 in 1 s"),
            ("2026-11-23T11:03:04.000000+01:00", "×18,204 in 60 min"),
            ("2026-11-20T11:03:04.000000+01:00", "×18,204 in 73 h"),
        ] {
            event.enforcer.repeats_since = Some(since.into());
            assert_eq!(repeats(&event).as_deref(), Some(text));
        }
        event.enforcer.repeats_since = None;
        assert_eq!(repeats(&event).as_deref(), Some("×18,204"));
    }

    #[test]
    fn what_was_not_shown_is_counted() {
        let mut event = default();
        event.event_type = SUPPRESSED.into();
        (event.ether, event.src_ip) = (None, None);
        event.enforcer.count = 1_234_567;
        assert_eq!(
            render(&event, &words(), TERMINAL),
            "12:03:04.123 DROP  bed-12       ×1,234,567 not shown   no rule allows it"
        );
        event.enforcer.device = None;
        event.enforcer.mac = Some("00:1b:44:11:3a:b7".into());
        let text = render(&event, &words(), TERMINAL);
        assert!(text.contains("DROP  00:1b:44:11:3a:b7 ×1,234,567 not shown"), "{text}");
        event.enforcer.mac = None;
        assert!(render(&event, &words(), TERMINAL).contains("DROP  others       ×1,234,567"));
    }

    #[test]
    fn no_rule_decided() {
        let mut event = default();
        event.dest_port = Some(516);
        assert_eq!(
            render(&event, &words(), TERMINAL),
            "12:03:04.123 DROP  bed-12       202.114.4.119 tcp/516  no rule allows it"
        );
        assert!(render(&event, &Words::new(), TERMINAL).ends_with("  default"));
    }

    #[test]
    fn a_device_without_a_name_in_an_observed_group() {
        let mut event = default();
        event.enforcer.device = None;
        event.enforcer.verdict = Some("would-drop".into());
        assert_eq!(
            render(&event, &words(), TERMINAL),
            "12:03:04.123 would 00:1b:44:11:3a:b7 202.114.4.119 tcp/515  printer\n                   \
             no rule allows it  SanDisk Corporation  from 10.20.0.12\n                   \
             in monitors"
        );
    }

    #[test]
    fn what_is_not_ip_or_has_no_ports() {
        let mut event = default();
        event.dest_port = None;
        event.proto = Some("47".into());
        assert_eq!(destination(&event), "202.114.4.119 proto/47");
        event.dest_ip = None;
        assert_eq!(destination(&event), "01:80:c2:00:00:0e type 0x88cc");
        event.ether = None;
        event.src_ip = None;
        event.enforcer.device = None;
        assert!(render(&event, &words(), TERMINAL).starts_with("12:03:04.123 DROP  -       "));
    }

    #[test]
    fn loss_is_said() {
        let mut event = event();
        event.event_type = LOST.into();
        event.enforcer =
            Detail { reason: Some(SLOW_READER.into()), count: 3120, ..Detail::default() };
        assert_eq!(
            render(&event, &words(), TERMINAL),
            "12:03:04.123 LOST  3,120 lines lost: this terminal read too slowly"
        );
        event.enforcer.reason = None;
        let text = render(&event, &words(), TERMINAL);
        assert!(text.ends_with("3,120 events lost: more than the kernel's ring could take"));
        event.enforcer.device = Some("bed-12".into());
        let text = render(&event, &words(), TERMINAL);
        assert!(text.contains("3,120 events of bed-12 lost"), "{text}");
    }

    #[test]
    fn tampering_is_said() {
        let mut event = event();
        event.event_type = TAMPER.into();
        event.enforcer = Detail { message: Some("lan0 is gone".into()), ..Detail::default() };
        assert_eq!(render(&event, &words(), TERMINAL), "12:03:04.123 TAMPER lan0 is gone");
    }

    #[test]
    fn colour_changes_no_column() {
        let plain = render(&event(), &words(), TERMINAL);
        let colour = render(&event(), &words(), Screen { colour: true, ..TERMINAL });
        assert_eq!(colour, plain.replace("DROP ", "\x1b[1;31mDROP \x1b[0m"));
    }
}
