//! The command line. Only this module uses clap.
//!
//! Completions and man pages are made from the same definition.
// tidy: long because completions, pages and parser are one definition

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

mod audit;
mod live;
mod setup;
mod tail;

pub(crate) use audit::{Audit, Trail};
pub(crate) use live::{Inbound, Live};
pub(crate) use setup::{Config, Init};
pub(crate) use tail::Tail;

/// Enforce what devices that cannot be patched may reach
#[derive(Debug, Parser)]
#[command(
    name = "enforcer",
    version,
    arg_required_else_help = true,
    max_term_width = 80,
    after_help = "Exit codes: 0 fine, 1 problems found, 2 usage, 3 configuration, \
                  4 the kernel refused, 5 the daemon is not running"
)]
pub(crate) struct Cli {
    /// Talk to the daemon at this socket [default: /run/enforcer/enforcer.sock]
    #[arg(long, global = true, value_name = "PATH", display_order = 900)]
    pub(crate) socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = "Examples:\n  \
        enforcer run\n  \
        enforcer run --interface lan0 --policy ./policy.toml")]
    Run(Run),
    /// Check a policy: needs no root and no daemon
    #[command(after_help = "Examples:\n  \
        enforcer check policy.toml\n  \
        enforcer check --json policy.toml | jq -r .message")]
    Check {
        /// Policy to check, or - for standard input
        policy: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Look at this machine and write a first configuration that only observes
    ///
    /// Asks which interfaces devices are behind, and writes enforcer.toml and policy.toml, with the
    /// devices that were seen as comments. Never overwrites an existing file.
    #[command(after_help = "Examples:\n  \
        enforcer init\n  \
        enforcer init --dry-run\n  \
        enforcer init --yes --interface lan0 --interface lan1")]
    Init(Init),
    /// Work with the daemon's settings
    #[command(after_help = "Examples:\n  \
        enforcer config check\n  \
        enforcer config check --json ./enforcer.toml | jq -r .message")]
    Config {
        #[command(subcommand)]
        command: Config,
    },
    /// Apply a policy: show the difference and switch all interfaces at once
    #[command(after_help = "Examples:\n  \
        enforcer apply --dry-run policy.toml\n  \
        enforcer apply --confirm 90s policy.toml && enforcer confirm\n  \
        enforcer apply policy.toml")]
    Apply(Apply),
    /// Keep the policy that waits to be confirmed
    #[command(after_help = "Examples:\n  \
        enforcer apply --confirm 90s policy.toml && enforcer confirm")]
    Confirm {
        #[command(flatten)]
        output: Output,
    },
    /// Withdraw the policy that waits to be confirmed, or apply an earlier revision again
    ///
    /// Live changes stay in force; `enforcer revoke` ends them.
    #[command(after_help = "Examples:\n  \
        enforcer rollback\n  \
        enforcer rollback 41")]
    Rollback {
        /// Revision to return to, see `enforcer history` [default: the previous one]
        revision: Option<u64>,
        /// Go back even if that cuts off your own session
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Allow a destination without editing the policy file; in force when the command returns
    #[command(after_help = "Examples:\n  \
        enforcer allow patient-monitors 198.51.100.7 tcp/443 --for 2h --reason CHG-4711\n  \
        enforcer allow bed-12 @update-servers --until 2026-12-01T06:00:00Z")]
    Allow(Live),
    /// Deny a destination without editing the policy file; in force when the command returns
    #[command(after_help = "Examples:\n  \
        enforcer deny cameras 203.0.113.0/24 --reason 'seen in a scan'\n  \
        enforcer deny bed-12 any --for 1h")]
    Deny(Live),
    /// Let others open something towards a device without editing the policy file
    #[command(after_help = "Examples:\n  \
        enforcer accept bed-12 10.20.0.9 tcp/22 --for 2h --reason CHG-4712\n  \
        enforcer accept patient-monitors @workstations tcp/9100")]
    Accept(Inbound),
    /// Refuse what is sent to a device without editing the policy file; in force when the command returns
    #[command(after_help = "Examples:\n  \
        enforcer refuse patient-monitors any udp/2000-2100 --reason CVE-2024-12248\n  \
        enforcer refuse bed-12 10.20.0.0/24 tcp/22 --for 2h")]
    Refuse(Inbound),
    /// Revoke a live change
    #[command(after_help = "Examples:\n  \
        enforcer revoke l-1a2b3c4d")]
    Revoke {
        /// Id of the change, see `enforcer status`
        id: String,
        /// Revoke it even if that cuts off your own session
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Set what a group does with the frames that it would drop
    #[command(after_help = "Examples:\n  \
        enforcer mode patient-monitors observe --for 15m --reason 'bed 12 alarms'\n  \
        enforcer mode cameras quarantine")]
    Mode(Mode),
    /// Show what is enforced; exit with 1 if an interface is not
    #[command(after_help = "Examples:\n  \
        enforcer status\n  \
        enforcer status --json | jq .policy.revision")]
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// List the devices, their groups and their drops
    #[command(after_help = "Examples:\n  \
        enforcer devices\n  \
        enforcer devices --json | jq -r 'select(.dropped > 0) | .mac'")]
    Devices {
        #[command(flatten)]
        output: Output,
    },
    /// List what others have opened towards devices by accept rules
    #[command(after_help = "Examples:\n  \
        enforcer flows\n  \
        enforcer flows --device bed-12 --json | jq -r .peer")]
    Flows {
        /// Only of this device: a name, a MAC address or a source address
        #[arg(long, short)]
        device: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// List the rules and how often each decided
    #[command(after_help = "Examples:\n  \
        enforcer rules\n  \
        enforcer rules --json | jq -r 'select(.frames == 0) | .place'")]
    Rules {
        #[command(flatten)]
        output: Output,
    },
    /// Follow drops until Ctrl-C
    ///
    /// A line says DROP, or `would` for a frame that passed because its group is only observed. All
    /// filters have to match; a repeated filter matches with any of its values. A terminal that
    /// reads too slowly loses lines and is told how many.
    #[command(after_help = "Examples:\n  \
        enforcer tail --group patient-monitors --not-to 10.0.0.0/8\n  \
        enforcer tail --since 10m --verdict would-drop -n 100 --json\n  \
        enforcer tail --pcap - --device bed-12 | tshark -r -")]
    Tail(Box<Tail>),
    /// Show devices, destinations and drops on a live screen
    ///
    /// Press ? for the keys, q to leave. Works in 80x24 and with 16 colours.
    #[command(after_help = "Examples:\n  \
        enforcer top\n  \
        NO_COLOR=1 enforcer top")]
    Top,
    /// Tell what happens to a frame, which rule decides, and which rules nearly match
    #[command(after_help = "Examples:\n  \
        enforcer explain --from bed-12 --to 202.114.4.119:515\n  \
        enforcer explain --from 00:1b:44:11:3a:b7 --to '[2001:db8::1]:53' --proto udp\n  \
        enforcer explain --policy next.toml --from 10.20.0.12 --to 8.8.8.8 --proto icmp\n  \
        enforcer explain --pcap bed-12.pcap --interface lan0")]
    Explain(Explain),
    /// Show the policy in force
    #[command(after_help = "Examples:\n  \
        enforcer policy show > in-force.toml")]
    Policy {
        #[command(subcommand)]
        command: Policy,
    },
    /// List the policy revisions with their time, user and reason
    #[command(after_help = "Examples:\n  \
        enforcer history\n  \
        enforcer history -n 1 --json | jq .changes")]
    History {
        /// Only the last N revisions
        #[arg(short = 'n', value_name = "N")]
        count: Option<usize>,
        #[command(flatten)]
        output: Output,
    },
    /// Read the audit trail: who changed what; needs no daemon
    #[command(after_help = "Examples:\n  \
        enforcer audit verify\n  \
        enforcer audit show -n 20")]
    Audit {
        #[command(subcommand)]
        command: Audit,
    },
    /// Block forwarding while an interface is not protected
    ///
    /// Two nftables tables, independent of the daemon, drop traffic forwarded from a protected
    /// interface until the kernel has confirmed the program on it.
    Backstop {
        #[command(subcommand)]
        command: Backstop,
    },
    /// Check whether this machine can enforce a policy, and try the program
    ///
    /// Needs no daemon and changes nothing. Tests the program in a separate network with frames
    /// that must be dropped and frames that must pass. Exits with 1 if a check failed or could not
    /// run.
    #[command(after_help = "Examples:\n  \
        enforcer doctor --interface lan0\n  \
        enforcer doctor --live\n  \
        enforcer doctor --json | jq -r 'select(.state != \"ok\") | .remedy'")]
    Doctor(Doctor),
    /// Remove everything from the kernel: nothing is enforced any more
    ///
    /// Asks the daemon, which then stops; without a daemon, cleans up by itself. Also removes the
    /// backstop's tables.
    #[command(after_help = "Examples:\n  \
        enforcer detach")]
    Detach {
        /// Read the daemon's settings from this file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// Print the completions of a shell
    #[command(hide = true)]
    Completions {
        /// Shell to complete in
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them to a directory
    #[command(hide = true)]
    Man {
        /// Directory to write to
        directory: Option<PathBuf>,
    },
}

/// Options of `apply`.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Policy to apply, or - for standard input
    pub(crate) policy: PathBuf,
    /// Show the difference and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Return to the previous policy unless `enforcer confirm` comes in time
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub(crate) confirm: Option<i64>,
    /// Apply even if that cuts off your own session
    #[arg(long)]
    pub(crate) force: bool,
    /// Why: shown in the history and the audit trail
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Options of `mode`.
#[derive(Debug, Args)]
pub(crate) struct Mode {
    /// Group, or unknown for devices that are in none
    pub(crate) group: String,
    /// enforce, observe or quarantine
    pub(crate) mode: GroupMode,
    #[command(flatten)]
    pub(crate) terms: Terms,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What a group does with the frames that it would drop.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum GroupMode {
    /// Drop them
    Enforce,
    /// Let them pass and report them
    Observe,
    /// Drop all but the essentials
    Quarantine,
}

/// How long a change holds, and why.
#[derive(Debug, Args)]
pub(crate) struct Terms {
    /// End by itself after this time: 90s, 15m, 2h, 7d
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    pub(crate) time: Option<i64>,
    /// End by itself at this date; depends on the wall clock, unlike `--for`
    #[arg(long, value_name = "RFC3339", conflicts_with = "time")]
    pub(crate) until: Option<jiff::Timestamp>,
    /// Why: shown in every event, in status and in the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Person or team responsible for it
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// Make the change even if it cuts off your own session
    #[arg(long)]
    pub(crate) force: bool,
}

impl Terms {
    /// When the change ends, in seconds since 1970-01-01 UTC, if it ends at a date.
    pub(crate) fn end(&self) -> Option<i64> {
        self.until.map(|until| until.as_second())
    }

    /// The duration in seconds, if it has one.
    pub(crate) fn lasts(&self) -> Option<u64> {
        self.time.map(i64::unsigned_abs)
    }
}

/// A time such as `90s`, `15m`, `2h`, `7d`, in seconds.
pub(crate) fn seconds(text: &str) -> Result<i64, String> {
    let hint = || format!("`{text}` is not a time such as 90s, 15m, 2h or 7d");
    let span: jiff::Span = text.parse().map_err(|_| hint())?;
    let time = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| hint())?;
    match time.as_secs() {
        seconds @ 1.. => Ok(seconds),
        _ => Err(hint()),
    }
}

/// Options of `run`; they override the settings file.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Read the daemon's settings from this file [default: /etc/enforcer/enforcer.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Protect this interface; may be given more than once
    #[arg(long, value_name = "IF")]
    pub(crate) interface: Vec<String>,
    /// Apply this policy at start
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Attach in the driver (native), in the stack (generic), or native if possible (auto)
    #[arg(long, value_name = "MODE")]
    pub(crate) xdp: Option<Xdp>,
}

/// How to attach.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Xdp {
    /// Native, or generic if that is impossible
    Auto,
    /// In the driver or not at all
    Native,
    /// In the network stack
    Generic,
}

/// How to print.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// Print JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Device: a name, a MAC address or a source address
    #[arg(long, value_name = "DEVICE", required_unless_present = "pcap")]
    pub(crate) from: Option<String>,
    /// Destination: ADDR, ADDR:PORT or [ADDR]:PORT
    #[arg(long, value_name = "ADDR[:PORT]", required_unless_present = "pcap")]
    pub(crate) to: Option<String>,
    /// Explain a frame that goes to a device: --from is the address of who sends it, --to DEVICE[:PORT]
    #[arg(long)]
    pub(crate) inbound: bool,
    /// Judge the frames of this capture instead: pcap or pcapng, plain or gzip
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "proto", "vlan", "inbound"])]
    pub(crate) pcap: Option<PathBuf>,
    /// Explain only frame N of the capture, in full
    #[arg(long, value_name = "N", requires = "pcap")]
    pub(crate) frame: Option<usize>,
    /// Protocol: tcp, udp, sctp, icmp, icmpv6 or a number
    #[arg(long, default_value = "tcp")]
    pub(crate) proto: String,
    /// Interface that receives the frame [default: where it was seen, the device's own, or the first]
    #[arg(long, value_name = "IF")]
    pub(crate) interface: Option<String>,
    /// VLAN that the frame is tagged with, 0 for none [default: where it was seen, or the device's own]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(..4095))]
    pub(crate) vlan: Option<u16>,
    /// Ask this policy instead of the daemon: needs no root and no daemon
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Read the daemon's settings from this file [default: /etc/enforcer/enforcer.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Look at this interface; may be given more than once [default: those of the settings]
    #[arg(long, value_name = "IF")]
    pub(crate) interface: Vec<String>,
    /// Also test the active program with frames; nothing is counted or reported for them
    #[arg(long)]
    pub(crate) live: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Subcommands of `policy`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Policy {
    /// Print the policy in force as one file that `apply` accepts
    #[command(after_help = "Examples:\n  \
        enforcer policy show > in-force.toml\n  \
        enforcer policy show --revision 6")]
    Show {
        /// Print this revision instead, if it is kept: see `enforcer history`
        #[arg(long, value_name = "REV")]
        revision: Option<u64>,
    },
}

/// Subcommands of `backstop`.
#[derive(Debug, Subcommand)]
pub(crate) enum Backstop {
    /// Install the tables, shut; needs no daemon and no network
    #[command(after_help = "Examples:\n  \
        enforcer backstop install")]
    Install(Backstopped),
    /// Remove the tables
    #[command(after_help = "Examples:\n  \
        enforcer backstop remove")]
    Remove(Backstopped),
    /// Show the tables in the kernel; exit with 1 if there are none
    #[command(after_help = "Examples:\n  \
        enforcer backstop show")]
    Show(Backstopped),
}

/// Options of every subcommand of `backstop`.
#[derive(Debug, Args)]
pub(crate) struct Backstopped {
    /// Read the daemon's settings from this file [default: /etc/enforcer/enforcer.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The command line of this process; prints help and usage errors, the latter with exit code 2.
pub(crate) fn parse() -> Cli {
    Cli::parse()
}

/// Writes the completions of a shell.
pub(crate) fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> io::Result<()> {
    // The generator panics when writing fails, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "enforcer", &mut script);
    out.write_all(&script)
}

/// Writes the main manual page.
pub(crate) fn man(out: &mut dyn Write) -> io::Result<()> {
    clap_mangen::Man::new(Cli::command()).render(out)
}

/// Writes the page of each command to a directory.
pub(crate) fn man_pages(directory: &std::path::Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), directory)
}

#[cfg(test)]
mod examples;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_exit_with_2() {
        for line in [
            "enforcer",
            "enforcer frobnicate",
            "enforcer apply",
            "enforcer tail --to nowhere",
            "enforcer tail -n 0",
            "enforcer tail --verdict pass",
            "enforcer explain --from bed-12",
            "enforcer explain --from a --to b --vlan 4095",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(parsed("enforcer --version").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn the_socket_is_global() {
        assert_eq!(parsed("enforcer status").unwrap().socket, None);
        for line in ["enforcer --socket /s status", "enforcer status --socket /s"] {
            assert_eq!(parsed(line).unwrap().socket, Some(PathBuf::from("/s")));
        }
    }

    #[test]
    fn help_is_imperative_and_has_no_full_stop() {
        fn walk(command: &clap::Command) {
            let texts = command
                .get_about()
                .into_iter()
                .chain(command.get_arguments().filter_map(clap::Arg::get_help));
            for text in texts {
                assert!(!text.to_string().ends_with('.'), "{}: {text}", command.get_name());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    #[test]
    fn completions_and_pages_name_the_commands() {
        for shell in
            [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish]
        {
            let mut script = Vec::new();
            completions(shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("dry-run") && script.contains("backstop"), "{shell}: {script}");
        }
        let mut page = Vec::new();
        man(&mut page).unwrap();
        assert!(String::from_utf8(page).unwrap().contains("explain"));
        let dir = tempfile::tempdir().unwrap();
        man_pages(dir.path()).unwrap();
        let mut pages = 0;
        let mut commands = vec![(String::new(), Cli::command())];
        while let Some((above, command)) = commands.pop() {
            let name = format!("{above}{}", command.get_name());
            if command.is_hide_set() {
                continue;
            }
            assert!(dir.path().join(format!("{name}.1")).exists(), "{name}");
            pages += 1;
            let below = command.get_subcommands().cloned();
            commands.extend(below.map(|below| (format!("{name}-"), below)));
        }
        assert!(pages >= 28, "{pages} pages");
    }
}
