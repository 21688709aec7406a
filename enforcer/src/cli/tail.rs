//! Options of `tail`.

use std::path::PathBuf;

use clap::Args;
use enforcer::events::filter::{Filter, Term};
use enforcer::events::subscription::Subscription;
use jiff::Timestamp;

/// Options of `tail`.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    only: Only,
    #[command(flatten)]
    not: Not,
    /// Start with past events from this time on, as far as the daemon has them: 10m, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// End after this many events
    #[arg(short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) format: Format,
}

/// Filters that must match. If an option is repeated, any of its values may match.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
struct Only {
    /// Only devices of this group
    #[arg(long, value_name = "GROUP", value_parser = |text: &str| Term::parse("group", text))]
    group: Vec<Term>,
    /// Only this device: a name, a MAC address or a source address
    #[arg(long, value_name = "DEVICE", value_parser = |text: &str| Term::parse("device", text))]
    device: Vec<Term>,
    /// Only destinations in this prefix
    #[arg(long, value_name = "CIDR", value_parser = |text: &str| Term::parse("to", text))]
    to: Vec<Term>,
    /// Only this service: tcp/443, udp/8000-8010, icmp, proto/47
    #[arg(long, value_name = "SERVICE", value_parser = |text: &str| Term::parse("service", text))]
    service: Vec<Term>,
    /// Only this reason
    #[arg(long, value_name = "REASON", value_parser = |text: &str| Term::parse("reason", text))]
    reason: Vec<Term>,
    /// Only this verdict: drop or would-drop
    #[arg(long, value_name = "VERDICT", value_parser = |text: &str| Term::parse("verdict", text))]
    verdict: Vec<Term>,
    /// Only frames that this interface received
    #[arg(long, value_name = "IF", value_parser = |text: &str| Term::parse("interface", text))]
    interface: Vec<Term>,
}

/// Filters that must not match.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
struct Not {
    /// No devices of this group
    #[arg(long, value_name = "GROUP", value_parser = |text: &str| Term::parse("group", text))]
    not_group: Vec<Term>,
    /// Not this device
    #[arg(long, value_name = "DEVICE", value_parser = |text: &str| Term::parse("device", text))]
    not_device: Vec<Term>,
    /// No destinations in this prefix
    #[arg(long, value_name = "CIDR", value_parser = |text: &str| Term::parse("to", text))]
    not_to: Vec<Term>,
    /// Not this service
    #[arg(long, value_name = "SERVICE", value_parser = |text: &str| Term::parse("service", text))]
    not_service: Vec<Term>,
    /// Not this reason
    #[arg(long, value_name = "REASON", value_parser = |text: &str| Term::parse("reason", text))]
    not_reason: Vec<Term>,
    /// Not this verdict
    #[arg(long, value_name = "VERDICT", value_parser = |text: &str| Term::parse("verdict", text))]
    not_verdict: Vec<Term>,
    /// No frames that this interface received
    #[arg(long, value_name = "IF", value_parser = |text: &str| Term::parse("interface", text))]
    not_interface: Vec<Term>,
}

/// The output format; columns if none is given.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Format {
    /// Print JSON, one object per line, with the field names of Suricata's EVE
    #[arg(long)]
    pub(crate) json: bool,
    /// Print EVE with only the fields of Suricata's schema, one object per line
    #[arg(long)]
    pub(crate) eve: bool,
    /// Write a capture of the frames (pcapng), or - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
}

impl Tail {
    /// The requested events.
    pub(crate) fn subscription(&self) -> Subscription {
        let Only { group, device, to, service, reason, verdict, interface } = &self.only;
        let wanted = [group, device, to, service, reason, verdict, interface];
        let not = &self.not;
        let unwanted = [
            &not.not_group,
            &not.not_device,
            &not.not_to,
            &not.not_service,
            &not.not_reason,
            &not.not_verdict,
            &not.not_interface,
        ];
        let all = |lists: &[&Vec<Term>]| lists.iter().copied().flatten().cloned().collect();
        Subscription {
            filter: Filter { wanted: all(&wanted), unwanted: all(&unwanted) },
            since: self.since,
            frames: self.format.pcap.is_some(),
        }
    }
}

/// A duration before now, such as `10m`, or a time of RFC 3339.
fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = super::seconds(text).ok().map(jiff::SignedDuration::from_secs);
    let time = ago.and_then(|ago| Timestamp::now().checked_sub(ago).ok());
    let wrong = || format!("`{text}` is neither a time such as 10m nor 2026-11-23T12:00:00Z");
    time.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        tail: Tail,
    }

    fn parsed(line: &str) -> Result<Tail, clap::Error> {
        Line::try_parse_from(line.split(' ')).map(|line| line.tail)
    }

    #[test]
    fn every_filter_and_its_contrary() {
        let names = ["group", "device", "to", "service", "reason", "verdict", "interface"];
        let values = ["g", "d", "10.0.0.0/8", "tcp/443", "r", "would-drop", "lan0"];
        let (mut line, mut expected) = ("tail".to_owned(), Filter::default());
        for not in ["", "not_"] {
            for (name, value) in names.iter().zip(values) {
                line += &format!(" --{}{name} {value}", not.replace('_', "-"));
                expected.add(&format!("{not}{name}"), value).unwrap();
            }
        }
        assert_eq!(parsed(&line).unwrap().subscription(), expected.into());
        let two = parsed("tail --group a --group b").unwrap().subscription();
        assert_eq!(two.query(), "?group=a&group=b");
    }

    #[test]
    fn times() {
        let since = |text| parsed(&format!("tail --since {text}")).map(|tail| tail.since.unwrap());
        let fixed = "2026-11-23T12:00:00Z";
        assert_eq!(since(fixed).unwrap(), fixed.parse::<Timestamp>().unwrap());
        let ago = Timestamp::now().duration_since(since("10m").unwrap()).as_secs();
        assert!((599..610).contains(&ago), "{ago}");
        assert!(since("yesterday").unwrap_err().to_string().contains("neither a time"));
    }

    #[test]
    fn one_format() {
        assert!(parsed("tail --json -n 5").is_ok());
        assert!(parsed("tail --pcap -").unwrap().subscription().frames);
        for line in ["tail --json --eve", "tail --eve --pcap x", "tail --service https"] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
