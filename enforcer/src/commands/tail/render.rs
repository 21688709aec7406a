//! An event as a line for people.

use enforcer::events::Event;
use enforcer::events::event::{Lost, Refusal, SLOW_READER};
use enforcer::events::text::{Words, device, where_to, word};
use enforcer_common::reason::Verdict;

use super::super::names::Names;
use super::super::text::{clean, number, pack};
use super::super::{BOLD, RED, Screen, YELLOW};

/// Width of the time and the verdict; parts that do not fit on the first line go below the device.
const INDENT: usize = 19;

/// State for rendering lines.
pub(super) struct Renderer {
    pub(super) words: Words,
    pub(super) names: Names,
    pub(super) screen: Screen,
}

impl Renderer {
    /// The line of an event, or several if it does not fit.
    pub(super) fn render(&mut self, event: &Event) -> String {
        let time = event.head().time.of_day();
        let (verdict, style) = match event {
            Event::Lost(lost) => {
                let verdict = self.screen.paint(YELLOW, "LOST ");
                return format!("{time} {verdict} {}", loss(event, lost));
            }
            Event::Tamper(tamper) => {
                let verdict = self.screen.paint(RED, "TAMPER");
                return format!("{time} {verdict} {}", clean(&tamper.message));
            }
            Event::Other(_, kind) => {
                return format!("{time} {}", self.screen.paint(BOLD, &clean(kind)));
            }
            Event::Drop(refusal) => column(refusal.verdict),
            Event::Suppressed(suppressed) => column(suppressed.verdict),
        };
        // Columns line up as long as nothing is unusually long.
        let device = device(event);
        let (second, parts) = match event.refusal() {
            Some(refusal) => (where_to(refusal), self.parts(refusal)),
            None => {
                let count = format!("×{} not shown", number(event.count()));
                let reason = event.reason().map_or("", |reason| reason.as_str());
                (count, vec![self.in_words(reason)])
            }
        };
        let first = format!("{time} {verdict} {device:<12} {second:<21}");
        let laid_out = pack(&first, &parts, INDENT, self.screen.width);
        // Colours have no width: they come after the line is laid out.
        laid_out.replacen(verdict, &self.screen.paint(style, verdict), 1)
    }

    /// The parts after the destination.
    fn parts(&mut self, refusal: &Refusal) -> Vec<String> {
        let mut parts = Vec::new();
        let service = refusal.protocol.zip(refusal.destination_port);
        let name = service.and_then(|(proto, port)| self.names.service(&proto.to_string(), port));
        parts.extend(name.map(clean));
        parts.extend(repeats(refusal));
        parts.push(self.why(refusal));
        if refusal.device.is_none() {
            // For an unnamed device, show its maker, address and group.
            if let Some(ether) = &refusal.ether {
                parts.extend(self.names.maker(&ether.source.to_string()).map(clean));
                parts.extend(refusal.source.map(|address| format!("from {address}")));
            }
            if let Some(group) = &refusal.group {
                parts.push(format!("in {}", clean(group)));
            }
        }
        parts
    }

    /// The rule and why it is there, or the reason in words.
    fn why(&self, refusal: &Refusal) -> String {
        let name = refusal.reason.as_str();
        let Some(rule) = &refusal.rule else { return self.in_words(name) };
        let mut text = format!("{} {}", name.replace('-', " "), rule.id);
        if let Some(reason) = &rule.reason {
            text.push(' ');
            text.push_str(reason);
        }
        clean(&text)
    }

    /// A reason in words.
    fn in_words(&self, name: &str) -> String {
        clean(self.words.get(name).unwrap_or(&name.replace('-', " ")))
    }
}

/// A verdict's column text and colour.
fn column(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Drop => ("DROP ", RED),
        Verdict::WouldDrop | Verdict::Pass => (word(verdict), YELLOW),
    }
}

/// `×18,204 in 5 s`: this frame, and those of its flow that had no line since the last one.
fn repeats(refusal: &Refusal) -> Option<String> {
    let count = 1 + refusal.repeats;
    if count < 2 {
        return None;
    }
    let Some(since) = refusal.repeats_since else { return Some(format!("×{}", number(count))) };
    let seconds = refusal.head.time.at.duration_since(since.at).as_secs().unsigned_abs();
    let time = match seconds {
        0..1 => "1 s".to_owned(),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200.. => format!("{} h", number(seconds / 3600)),
    };
    Some(format!("×{} in {time}", number(count)))
}

fn loss(event: &Event, lost: &Lost) -> String {
    let count = number(lost.count);
    if lost.cause == *SLOW_READER {
        return format!("{count} lines lost: this terminal read too slowly");
    }
    let of = match (event.device(), event.mac()) {
        (None, None) => String::new(),
        _ => format!(" of {}", device(event)),
    };
    format!("{count} events{of} lost: more than the kernel's ring could take")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use enforcer::events::event::{
        LostFrames, RING_FULL, ReasonName, Rule, Sender, Suppressed, Tamper,
    };
    use enforcer::policy::Mac;

    const TERMINAL: Screen = Screen { width: Some(80), colour: false };

    /// The first of the golden events, with names that fit a line.
    pub(in super::super) fn refusal() -> Refusal {
        let golden = include_str!("../../../tests/data/api/events.jsonl").lines().next();
        let event: Event = serde_json::from_str(golden.unwrap()).unwrap();
        let id = "r-1a2b3c4d".into();
        Refusal {
            group: Some("monitors".into()),
            rule: Some(Rule { id, reason: Some("CHG-1".into()) }),
            ..event.refusal().unwrap().clone()
        }
    }

    pub(in super::super) fn event(refusal: Refusal) -> Event {
        Event::Drop(refusal.into())
    }

    fn render(event: &Event, words: &Words, screen: Screen) -> String {
        let names = Names::from_texts("printer 515/tcp spooler\ndomain 53/udp\n", MAKERS);
        Renderer { words: words.clone(), names, screen }.render(event)
    }

    /// On a terminal of 80 columns.
    fn shown(refusal: &Refusal) -> String {
        render(&event(refusal.clone()), &words(), TERMINAL)
    }

    const MAKERS: &str = "00-1B-44   (hex)\t\tSanDisk Corporation\n";

    fn words() -> Words {
        [("default".to_owned(), "no rule allows it".to_owned())].into()
    }

    fn default() -> Refusal {
        Refusal { reason: ReasonName::of("default"), rule: None, ..refusal() }
    }

    #[test]
    fn a_rule_decided() {
        assert_eq!(
            shown(&refusal()),
            "12:03:04.123 DROP  bed-12       202.114.4.119 tcp/515  printer\n                   \
             deny r-1a2b3c4d CHG-1"
        );
    }

    #[test]
    fn what_does_not_fit_stands_below() {
        let id = "r-1a2b3c4d".into();
        let mut refusal = Refusal {
            rule: Some(Rule { id, reason: Some("ICSMA-25-030-01".into()) }),
            repeats: 18_203,
            repeats_since: "2026-11-23T12:02:59.100000+01:00".parse().ok(),
            ..refusal()
        };
        assert_eq!(
            shown(&refusal),
            "12:03:04.123 DROP  bed-12       202.114.4.119 tcp/515  printer  ×18,204 in 5 s\n\
             \x20                  deny r-1a2b3c4d ICSMA-25-030-01"
        );
        let piped = render(&event(refusal.clone()), &words(), Screen::default());
        assert!(!piped.contains('\n'), "one line in a pipe");
        for (since, text) in [
            ("2026-11-23T12:03:04.000000+01:00", "×18,204 in 1 s"),
            ("2026-11-23T11:03:04.000000+01:00", "×18,204 in 60 min"),
            ("2026-11-20T11:03:04.000000+01:00", "×18,204 in 73 h"),
        ] {
            refusal.repeats_since = since.parse().ok();
            assert_eq!(repeats(&refusal).as_deref(), Some(text));
        }
        refusal.repeats_since = None;
        assert_eq!(repeats(&refusal).as_deref(), Some("×18,204"));
    }

    #[test]
    fn what_was_not_shown_is_counted() {
        let Refusal { head, verdict, reason, device, .. } = default();
        let shown = |mac, device| {
            let sender = Sender { mac, device, ..Sender::default() };
            let head = head.clone();
            let (reason, count) = (reason.clone(), 1_234_567);
            let event = Event::Suppressed(Suppressed { head, sender, verdict, reason, count });
            render(&event, &words(), TERMINAL)
        };
        assert_eq!(
            shown(None, device),
            "12:03:04.123 DROP  bed-12       ×1,234,567 not shown   no rule allows it"
        );
        let text = shown(Some(Mac([0x00, 0x1b, 0x44, 0x11, 0x3a, 0xb7])), None);
        assert!(text.contains("DROP  00:1b:44:11:3a:b7 ×1,234,567 not shown"), "{text}");
        assert!(shown(None, None).contains("DROP  others       ×1,234,567"));
    }

    #[test]
    fn no_rule_decided() {
        let refusal = Refusal { destination_port: Some(516), ..default() };
        assert_eq!(
            shown(&refusal),
            "12:03:04.123 DROP  bed-12       202.114.4.119 tcp/516  no rule allows it"
        );
        assert!(render(&event(refusal), &Words::new(), TERMINAL).ends_with("  default"));
    }

    #[test]
    fn a_device_without_a_name_in_an_observed_group() {
        let refusal = Refusal { device: None, verdict: Verdict::WouldDrop, ..default() };
        assert_eq!(
            shown(&refusal),
            "12:03:04.123 would 00:1b:44:11:3a:b7 202.114.4.119 tcp/515  printer\n                   \
             no rule allows it  SanDisk Corporation  from 10.20.0.12\n                   \
             in monitors"
        );
    }

    #[test]
    fn nothing_is_known_of_the_sender() {
        let refusal = Refusal { ether: None, source: None, device: None, ..default() };
        assert!(shown(&refusal).starts_with("12:03:04.123 DROP  -       "));
    }

    #[test]
    fn loss_is_said() {
        let Refusal { head, verdict, device, .. } = refusal();
        let shown = |cause, frames| {
            let (head, cause) = (head.clone(), ReasonName::of(cause));
            let event = Event::Lost(Lost { head, cause, count: 3120, frames });
            render(&event, &words(), TERMINAL)
        };
        assert_eq!(
            shown(SLOW_READER, None),
            "12:03:04.123 LOST  3,120 lines lost: this terminal read too slowly"
        );
        let text = shown(RING_FULL, None);
        assert!(text.ends_with("3,120 events lost: more than the kernel's ring could take"));
        let sender = Sender { device, ..Sender::default() };
        let text = shown(RING_FULL, Some(LostFrames { sender, verdict, reason: None }));
        assert!(text.contains("3,120 events of bed-12 lost"), "{text}");
    }

    #[test]
    fn tampering_is_said() {
        let (head, reason) = (refusal().head, ReasonName::of("interface-gone"));
        let event = Event::Tamper(Tamper { head, reason, message: "lan0 is gone".into() });
        assert_eq!(render(&event, &words(), TERMINAL), "12:03:04.123 TAMPER lan0 is gone");
    }

    #[test]
    fn colour_changes_no_column() {
        let event = event(refusal());
        let plain = render(&event, &words(), TERMINAL);
        let colour = render(&event, &words(), Screen { colour: true, ..TERMINAL });
        assert_eq!(colour, plain.replace("DROP ", "\x1b[1;31mDROP \x1b[0m"));
    }
}
