//! Metrics for Prometheus.

use super::core::Core;
use crate::api::{GroupStatus, InterfaceStatus, ReasonCount, RuleRow};
use crate::events::sinks::Health;
use crate::metrics::Kind::{Counter, Gauge};
use crate::metrics::{Families, Labels};

impl Core {
    /// Metrics as Prometheus text. No label comes from a device, so that a flood of invented devices adds
    /// no series.
    pub(super) async fn metrics(&self) -> String {
        let mut families = Families::default();
        self.measure_reasons(&mut families);
        self.measure_rules(&mut families);
        self.measure_groups(&mut families);
        let interfaces = self.interfaces().await;
        measure_interfaces(&mut families, &interfaces);
        self.measure_watch(&mut families, &interfaces).await;
        self.measure_sinks(&mut families);
        self.measure_policy(&mut families);
        families.text()
    }

    fn measure_reasons(&self, families: &mut Families) {
        type Value = fn(&ReasonCount) -> u64;
        let columns: [(&str, &str, Value); 5] = [
            ("frames", "Frames judged, by reason.", |count| count.frames),
            ("bytes", "Bytes of judged frames, by reason.", |count| count.bytes),
            (
                "would_drop_frames",
                "Frames that passed only because their group is observed.",
                |count| count.would_drop,
            ),
            ("events_suppressed", "Events suppressed by a device's budget.", |count| {
                count.suppressed
            }),
            ("events_lost", "Events that the ring buffer could not take.", |count| count.lost),
        ];
        let reasons = self.reasons();
        for (name, help, value) in columns {
            let sample = |count: &ReasonCount| value(count);
            let samples = reasons.iter().map(|count| {
                let ReasonCount { reason, verdict, .. } = count;
                (vec![("reason", reason.as_str()), ("verdict", verdict)], sample(count))
            });
            families.add(Counter, &format!("enforcer_{name}_total"), help, samples);
        }
    }

    fn measure_rules(&self, families: &mut Families) {
        let rules = self.rules();
        let labels = |rule: &'_ RuleRow| -> [String; 3] {
            [rule.id.clone(), rule.group.clone(), rule.action.clone()]
        };
        let labels: Vec<[String; 3]> = rules.iter().map(labels).collect();
        let samples = |value: fn(&RuleRow) -> u64| {
            labels.iter().zip(&rules).map(move |([id, group, action], rule)| {
                (vec![("rule", id.as_str()), ("group", group), ("action", action)], value(rule))
            })
        };
        let frames = samples(|rule| rule.frames);
        families.add(Counter, "enforcer_rule_frames_total", "Frames decided, by rule.", frames);
        let bytes = samples(|rule| rule.bytes);
        let help = "Bytes of the frames decided, by rule.";
        families.add(Counter, "enforcer_rule_bytes_total", help, bytes);
    }

    fn measure_groups(&self, families: &mut Families) {
        let groups = self.groups();
        let modes = groups.iter().map(|group| {
            let GroupStatus { name, mode, default, .. } = group;
            (vec![("group", name.as_str()), ("mode", mode), ("default", default)], 1)
        });
        families.add(Gauge, "enforcer_group_info", "Groups, their modes and defaults.", modes);
        let rules = groups.iter().map(|group| (vec![("group", &*group.name)], group.rules as u64));
        families.add(Gauge, "enforcer_group_rules", "Rules, by group.", rules);
        let refused = self.reporter.totals();
        let samples = refused.iter().map(|(row, frames)| {
            let labels: Labels<'_> = vec![
                ("interface", &row.interface),
                ("group", &row.group),
                ("reason", row.reason),
                ("verdict", row.verdict),
            ];
            (labels, *frames)
        });
        let help = "Refused frames that the daemon heard of since it started; what a budget suppressed \
                    is counted with the device's next event.";
        families.add(Counter, "enforcer_refused_frames_total", help, samples);
    }

    async fn measure_watch(&self, families: &mut Families, interfaces: &[InterfaceStatus]) {
        let looked_at = interfaces.iter().filter(|row| row.backstop != "absent");
        let armed = looked_at
            .map(|row| (vec![("interface", &*row.name)], u64::from(row.backstop == "armed")));
        let help = "Whether the backstop lets through what is forwarded from the interface.";
        families.add(Gauge, "enforcer_backstop_armed", help, armed);
        let tables = self.tables().await;
        let dropped =
            tables.iter().map(|(family, table)| (vec![("family", family.name())], table.frames));
        let help = "Frames that the backstop dropped.";
        families.add(Counter, "enforcer_backstop_dropped_frames_total", help, dropped);
        let help = "Times that a program was attached again since the daemon started.";
        families.one(Counter, "enforcer_reattached_total", help, self.watched.reattached);
        let tampered = self.watched.tampered.iter();
        let tampered = tampered.map(|(why, count)| (vec![("reason", *why)], *count));
        let help = "What happened to pins, programs, interfaces and the backstop since the daemon started.";
        families.add(Counter, "enforcer_tamper_total", help, tampered);
        let [noted, full] = self.engine.dataplane.flows_counted();
        let help = "Sessions that others opened towards devices by accept rules.";
        families.one(Counter, "enforcer_flows_total", help, noted);
        let help = "Sessions of others that found no room in the table.";
        families.one(Counter, "enforcer_flows_full_total", help, full);
        let help = "Entries that the audit trail will never have.";
        families.one(Counter, "enforcer_audit_lost_total", help, self.audit.lost());
        let help = "Entries that the audit trail cannot take now.";
        families.one(Gauge, "enforcer_audit_waiting", help, self.audit.waiting() as u64);
    }

    fn measure_sinks(&self, families: &mut Families) {
        let samples = |value: fn(&Health) -> u64| {
            self.sinks.iter().map(move |sink| (vec![("sink", sink.name)], value(sink)))
        };
        let up = samples(|sink| u64::from(sink.trouble().is_none()));
        families.add(Gauge, "enforcer_sink_up", "Whether the sink takes lines.", up);
        let lines = samples(Health::lines);
        families.add(Counter, "enforcer_sink_lines_total", "Lines that the sink took.", lines);
        let help = "Lines that the sink will never get: it was too slow, or not there.";
        families.add(Counter, "enforcer_sink_lost_lines_total", help, samples(Health::lost));
    }

    fn measure_policy(&self, families: &mut Families) {
        let names = &*self.engine.active;
        let build = [(vec![("version", env!("CARGO_PKG_VERSION"))], 1)];
        families.add(Gauge, "enforcer_build_info", "Version of the daemon.", build);
        let gauges: [(&str, &str, u64); 7] = [
            (
                "enforcer_policy_revision",
                "Revision in force: counts the policies that were applied.",
                names.revision,
            ),
            (
                "enforcer_policy_applied_timestamp_seconds",
                "When the revision in force was applied, in seconds since 1970-01-01 UTC.",
                unix_seconds(&names.since),
            ),
            (
                "enforcer_start_timestamp_seconds",
                "When the daemon started, in seconds since 1970-01-01 UTC.",
                unix_seconds(&self.started),
            ),
            (
                "enforcer_policy_unconfirmed",
                "Whether the policy in force waits to be confirmed.",
                u64::from(self.engine.pending.is_some()),
            ),
            (
                "enforcer_live_changes",
                "Changes by command, beside the policy file.",
                names.live.len() as u64,
            ),
            ("enforcer_generation", "Generation in force.", names.generation.into()),
            (
                "enforcer_image_bytes",
                "Size of the policy image in force.",
                self.engine.dataplane.current().image_bytes,
            ),
        ];
        for (name, help, value) in gauges {
            families.one(Gauge, name, help, value);
        }
    }
}

fn measure_interfaces(families: &mut Families, interfaces: &[InterfaceStatus]) {
    let all = interfaces.iter().all(|row| row.enforcing);
    let help = "Whether every protected interface is enforced on.";
    families.one(Gauge, "enforcer_enforcing", help, u64::from(all));
    let enforcing = interfaces.iter().map(|row| {
        let labels = vec![("interface", row.name.as_str()), ("mode", &row.mode)];
        (labels, u64::from(row.enforcing))
    });
    let help = "Whether the program is attached, as the kernel says, and seen to run.";
    families.add(Gauge, "enforcer_interface_enforcing", help, enforcing);
    let samples = |value: fn(&InterfaceStatus) -> u64| {
        interfaces.iter().map(move |row| (vec![("interface", &*row.name)], value(row)))
    };
    let help = "Frames that the interface received, by the driver's statistics.";
    let received = samples(|row| row.received);
    families.add(Counter, "enforcer_interface_received_frames_total", help, received);
    let help = "Runs of the program for frames of the interface: proof that the driver runs it.";
    let runs = samples(|row| row.runs);
    families.add(Counter, "enforcer_interface_runs_total", help, runs);
}

/// Seconds since 1970-01-01 UTC of an RFC 3339 time; 0 if it is not one.
fn unix_seconds(time: &str) -> u64 {
    let time: Option<jiff::Timestamp> = time.parse().ok();
    time.and_then(|time| time.as_second().try_into().ok()).unwrap_or_default()
}
