//! Kernel, rights, clock and disk.

use super::super::Finding;
use super::super::facts::{Facts, Machine};
use super::unknown;
use crate::dataplane::Error;
use crate::host::tables::{self, TooSmall};
use crate::privilege;

/// Least free space: the audit trail takes up to 72 MiB, the history up to 64.
const FREE: u64 = 136 << 20;
/// With less than this, a policy may not fit.
const NO_ROOM: u64 = 4 << 20;
/// 2026-01-01: no clock of a machine that runs this version is before it.
const EARLIEST: i64 = 1_767_225_600;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let machine = &facts.machine;
    let all = [
        Some(kernel(machine)),
        Some(rights(machine)),
        Some(bpffs(machine)),
        locked_memory(machine),
        unprivileged(machine),
        neighbours(machine),
        Some(clock(machine)),
        Some(disk(machine)),
    ];
    all.into_iter().flatten().collect()
}

fn kernel(machine: &Machine) -> Finding {
    const CHECK: &str = "kernel";
    let release = &machine.release;
    if machine.kernel < (5, 10) {
        let text = format!("Linux {release}: enforcer is written for 5.10 and later");
        return Finding::fail(CHECK, text, "install a later kernel");
    }
    let features = [
        ((5, 14), "explain cannot ask the kernel (5.14)"),
        ((5, 18), "no jumbo frames in native mode (5.18)"),
    ];
    let missing = features.iter().filter(|(since, _)| machine.kernel < *since);
    let missing: Vec<&str> = missing.map(|(_, what)| *what).collect();
    let missing =
        if missing.is_empty() { "has all that it uses".into() } else { missing.join(", ") };
    Finding::ok(CHECK, format!("Linux {release}: {missing}"))
}

fn rights(machine: &Machine) -> Finding {
    if machine.contained {
        return Finding::fail("rights", privilege::INSIDE, privilege::OUTSIDE);
    }
    let lacking = &machine.lacking;
    if lacking.is_empty() {
        return Finding::ok("rights", "may load programs and attach them");
    }
    let why = format!("what needs {}, which this user does not have", lacking.join(", "));
    Finding::unknown("rights", why, "run it as root")
}

fn bpffs(machine: &Machine) -> Finding {
    const CHECK: &str = "bpffs";
    match &machine.bpffs {
        Ok(true) => Finding::ok(CHECK, format!("{} is on one", machine.pins.display())),
        Ok(false) => {
            let error = Error::NoBpfFs(machine.pins.clone());
            Finding::fail(CHECK, error.to_string(), "mount one: mount -t bpf bpf /sys/fs/bpf")
        }
        Err(unseen) => unknown(CHECK, unseen),
    }
}

/// Linux before 5.11 counts maps as locked memory.
fn locked_memory(machine: &Machine) -> Option<Finding> {
    let limit = machine.locked.filter(|_| machine.kernel < (5, 11))?;
    let text = format!(
        "{} KiB may be locked, and this kernel counts maps; the daemon lifts the limit only with \
         CAP_SYS_RESOURCE",
        limit >> 10
    );
    Some(Finding::warning("locked-memory", text, "LimitMEMLOCK=infinity in its unit, or ulimit -l"))
}

fn unprivileged(machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "unprivileged-bpf";
    Some(match machine.unprivileged? {
        0 => Finding::warning(
            CHECK,
            "every user may load BPF programs, and so exploit bugs of the verifier",
            "sysctl -w kernel.unprivileged_bpf_disabled=2, and in /etc/sysctl.d",
        ),
        _ => Finding::ok(CHECK, "only root may load BPF programs"),
    })
}

fn neighbours(machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "neighbours";
    let (_, most) = machine.neighbours.iter().min_by_key(|(_, most)| *most)?;
    Some(match tables::of_neighbours(&machine.neighbours) {
        Some(TooSmall { text, remedy }) => Finding::warning(CHECK, text, remedy),
        None => Finding::ok(CHECK, format!("the kernel keeps at least {most} of a family")),
    })
}

fn clock(machine: &Machine) -> Finding {
    const CHECK: &str = "clock";
    let remedy = "timedatectl set-ntp true, or run chrony or ntpd";
    if machine.now < EARLIEST {
        let text = "it is before 2026: rules would not end on time, and no event has its time";
        return Finding::fail(CHECK, text, remedy);
    }
    match &machine.synchronised {
        Ok(true) => Finding::ok(CHECK, "synchronised"),
        Ok(false) => Finding::warning(
            CHECK,
            "nothing keeps it right: rules with an end and the times of events follow it",
            remedy,
        ),
        Err(unseen) => unknown(CHECK, unseen),
    }
}

fn disk(machine: &Machine) -> Finding {
    const CHECK: &str = "disk";
    let dir = machine.state.display();
    let disk = match &machine.disk {
        Ok(disk) => disk,
        Err(unseen) => return unknown(CHECK, unseen),
    };
    let free = format!("{} MiB free in {dir}", disk.free >> 20);
    if !disk.writable && !machine.lacking.is_empty() {
        return Finding::unknown(
            CHECK,
            format!("{dir} does not belong to this user"),
            "run it as root",
        );
    }
    if !disk.writable {
        let remedy = format!("mount it writable, or set state_dir in enforcer.toml (now {dir})");
        return Finding::fail(CHECK, format!("{dir} cannot be written"), remedy);
    }
    let elsewhere = "make room, or set state_dir in enforcer.toml";
    if disk.free < NO_ROOM {
        let text = format!("{free}: a policy may not be kept, and would be gone after a reboot");
        return Finding::fail(CHECK, text, elsewhere);
    }
    if disk.volatile {
        let text = format!("{dir} is in memory: policy and audit trail are gone after a reboot");
        return Finding::warning(CHECK, text, "set state_dir in enforcer.toml to a disk");
    }
    if disk.free < FREE {
        let text = format!("{free}: audit trail and history may take {} MiB", FREE >> 20);
        return Finding::warning(CHECK, text, elsewhere);
    }
    Finding::ok(CHECK, free)
}
