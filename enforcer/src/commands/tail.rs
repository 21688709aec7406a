//! `enforcer tail`: a line an event, until Ctrl-C.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result};
use enforcer::api::{Event, TAMPER};
use enforcer::control::client::Client;
use enforcer::control::hub::SLOW_READER;
use enforcer::exit::Exit;
use tokio::signal::unix::{SignalKind, signal};

use super::text::{clean, number, pack};
use super::{BOLD, RED, Screen, YELLOW};
use crate::cli::Tail;

/// The reasons in words, by name.
type Words = HashMap<String, String>;

pub(super) fn run(client: &Client, args: &Tail) -> Result<Exit> {
    // A thread of its own waits for Ctrl-C: it has to end a tail whose terminal or pipe takes no
    // more, and that hangs in a write.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch Ctrl-C")?;
        #[expect(
            clippy::disallowed_methods,
            reason = "a write that hangs cannot be asked to return"
        )]
        tokio::spawn(async move {
            interrupt.recv().await;
            std::process::exit(i32::from(Exit::Fine as u8));
        });
        follow(client, args).await
    })
}

async fn follow(client: &Client, args: &Tail) -> Result<Exit> {
    let mut events = client.events(&args.filter()).await?;
    // The daemon knows the words; without them a reason's name has to do.
    let words: Words = match client.status().await {
        Ok(status) if !args.json => {
            status.reasons.into_iter().map(|reason| (reason.reason, reason.text)).collect()
        }
        Ok(_) | Err(_) => Words::new(),
    };
    let mut left = args.count;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut screen = Screen::of_stdout();
    while let Some(lines) = events.next().await? {
        if screen.width.is_some() {
            // The window may have changed.
            screen = Screen::of_stdout();
        }
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let event: Event =
                serde_json::from_slice(line).context("cannot read the daemon's event")?;
            if args.json {
                out.write_all(line)?;
            } else {
                writeln!(out, "{}", render(&event, &words, screen))?;
            }
            // Lines about loss and tampering are not what was asked for.
            if event.event_type != "lost"
                && event.event_type != TAMPER
                && let Some(left) = &mut left
            {
                *left -= 1;
                if *left == 0 {
                    out.flush()?;
                    return Ok(Exit::Fine);
                }
            }
        }
        out.flush()?;
    }
    eprintln!("the daemon has stopped");
    Ok(Exit::NotRunning)
}

/// Width of the time and the verdict; what does not fit on the first line stands below the
/// device.
const INDENT: usize = 19;

fn render(event: &Event, words: &Words, screen: Screen) -> String {
    let detail = &event.enforcer;
    let time = clean(event.timestamp.get(11..23).unwrap_or(&event.timestamp));
    if event.event_type == "lost" {
        let why = if detail.reason.as_deref() == Some(SLOW_READER) {
            "lines lost: this terminal read too slowly"
        } else {
            "events lost: more than the kernel's ring could take"
        };
        let verdict = screen.paint(YELLOW, "LOST ");
        return format!("{time} {verdict} {} {why}", number(detail.count));
    }
    if event.event_type == TAMPER {
        let text = clean(detail.message.as_deref().unwrap_or_default());
        return format!("{time} {} {text}", screen.paint(RED, "TAMPER"));
    }
    // Columns line up as long as nothing is unusually long.
    let rest = format!("{:<12} {:<21}", device(event), destination(event));
    let mut parts = Vec::new();
    if detail.count > 1 {
        parts.push(format!("×{}", number(detail.count)));
    }
    parts.push(why(event, words));
    if detail.device.is_none() {
        // Who is it? The address and the group are all that there is to say.
        if event.ether.is_some()
            && let Some(ip) = &event.src_ip
        {
            parts.push(format!("from {}", clean(ip)));
        }
        if let Some(group) = &detail.group {
            parts.push(format!("in {}", clean(group)));
        }
    }
    if detail.suppressed > 0 {
        parts.push(format!("+{} suppressed", number(detail.suppressed)));
    }
    let (verdict, style) = match detail.verdict.as_deref() {
        Some("drop") => ("DROP ", RED),
        Some("would-drop") => ("would", YELLOW),
        Some(_) | None => ("?    ", BOLD),
    };
    // Colours have no width: they come after the line is laid out.
    let laid_out = pack(&format!("{time} {verdict} {rest}"), &parts, INDENT, screen.width);
    laid_out.replacen(verdict, &screen.paint(style, verdict), 1)
}

fn device(event: &Event) -> String {
    let mac = event.ether.as_ref().map(|ether| &ether.src_mac);
    let name = event.enforcer.device.as_ref().or(mac).or(event.src_ip.as_ref());
    name.map_or_else(|| "-".to_owned(), |name| clean(name))
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

/// The rule and why it is there, or the reason in words.
fn why(event: &Event, words: &Words) -> String {
    let detail = &event.enforcer;
    let name = detail.reason.as_deref().unwrap_or("unknown reason");
    let Some(rule) = &detail.rule else {
        return clean(words.get(name).unwrap_or(&name.replace('-', " ")));
    };
    let mut text = format!("{} {rule}", name.replace('-', " "));
    if let Some(reason) = &detail.rule_reason {
        text.push(' ');
        text.push_str(reason);
    }
    clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use enforcer::api::{Detail, Ether};

    const TERMINAL: Screen = Screen { width: Some(80), colour: false };

    fn event() -> Event {
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
                suppressed: 0,
                message: None,
            },
        }
    }

    fn words() -> Words {
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
            "12:03:04.123 DROP  bed-12       202.114.4.119 tcp/515  deny r-1a2b3c4d CHG-1"
        );
    }

    #[test]
    fn what_does_not_fit_stands_below() {
        let mut event = event();
        event.enforcer.rule_reason = Some("ICSMA-25-030-01".into());
        event.enforcer.count = 3;
        event.enforcer.suppressed = 18_204;
        assert_eq!(
            render(&event, &words(), TERMINAL),
            "12:03:04.123 DROP  bed-12       202.114.4.119 tcp/515  ×3\n                   \
             deny r-1a2b3c4d ICSMA-25-030-01  +18,204 suppressed"
        );
        assert!(!render(&event, &words(), Screen::default()).contains('\n'), "one line in a pipe");
    }

    #[test]
    fn no_rule_decided() {
        assert_eq!(
            render(&default(), &words(), TERMINAL),
            "12:03:04.123 DROP  bed-12       202.114.4.119 tcp/515  no rule allows it"
        );
        assert!(render(&default(), &Words::new(), TERMINAL).ends_with("  default"));
    }

    #[test]
    fn a_device_without_a_name_in_an_observed_group() {
        let mut event = default();
        event.enforcer.device = None;
        event.enforcer.verdict = Some("would-drop".into());
        assert_eq!(
            render(&event, &words(), TERMINAL),
            "12:03:04.123 would 00:1b:44:11:3a:b7 202.114.4.119 tcp/515  no rule allows it\n\
             \x20                  from 10.20.0.12  in monitors"
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
        event.event_type = "lost".into();
        event.enforcer =
            Detail { reason: Some(SLOW_READER.into()), count: 3120, ..Detail::default() };
        assert_eq!(
            render(&event, &words(), TERMINAL),
            "12:03:04.123 LOST  3,120 lines lost: this terminal read too slowly"
        );
        event.enforcer.reason = None;
        let text = render(&event, &words(), TERMINAL);
        assert!(text.ends_with("3,120 events lost: more than the kernel's ring could take"));
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
