//! The cost of policies apart from frames: applying them, starting with them, and memory; compared
//! with nftables with the same prefixes in a set.
use std::{
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use tests::harness::{Daemon, Lab, kernel::bpftool, lacking};

use crate::{
    MILLION, allow, feed,
    measure::{Spread, enforcer, objects, slabs, status, timed},
    report::{Bound, Curve, Report, Series},
};

/// Prefixes in the set.
const SIZES: [usize; 5] = [10, 1_000, 10_000, 100_000, MILLION];
/// Times that each is measured.
const ROUNDS: usize = 7;
/// The same for nftables, which is slow.
const NFT_ROUNDS: usize = 3;
/// Time limit for a start.
const DEADLINE: Duration = Duration::from_secs(60);
const MIB: f64 = (1 << 20) as f64;

/// The enforcer's cost of one policy; milliseconds and MiB, medians.
struct Ours {
    apply: f64,
    allow: f64,
    start: f64,
    /// Memory of the image, according to the daemon.
    image: f64,
    /// Memory of the image, as charged by the kernel.
    charged: f64,
    /// Memory of all of the daemon's kernel objects.
    objects: f64,
    /// Resident memory of the daemon after its start.
    started: f64,
    /// The same after all changes.
    resident: f64,
    /// Peak resident memory.
    peak: f64,
}

/// nftables' cost of the same prefixes.
struct Theirs {
    load: f64,
    slabs: f64,
}

/// Measures each size.
pub(crate) fn run(report: &mut Report) {
    let lab = Lab::gateway("bench-control");
    let nft = lacking(&["nft"]).is_empty();
    let rows = SIZES.map(|prefixes| {
        let texts = [1, 2].map(|seed| feed::file(&feed::prefixes(prefixes, seed)));
        Row { prefixes, ours: ours(&lab, &texts), theirs: nft.then(|| theirs(&lab, &texts)) }
    });
    report.line(&format!(
        "One group may reach a set of random IPv4 prefixes, /18 to /32, by tcp/443. Each change replaces \
         all of them. Medians of {ROUNDS} rounds, of {NFT_ROUNDS} for nft."
    ));
    times(report, &rows);
    memory(report, &rows);
    targets(report, &rows);
}

/// Starts, changes and sizes of one policy in two variants.
fn ours(lab: &Lab, texts: &[String; 2]) -> Ours {
    let mut daemon = Daemon::prepare(&lab.gw, &["lan0"], allow::POLICY);
    daemon.write("feed.txt", &texts[0]);
    let mut starts = vec![start(&mut daemon)];
    while starts.len() < ROUNDS {
        // Nothing stays in the kernel, so the next start does not adopt.
        assert!(daemon.terminate().success() && daemon.detach().success(), "{}", daemon.log());
        starts.push(start(&mut daemon));
    }
    let pid = daemon.process().pid();
    let started = status(pid, "VmRSS");
    let policy = daemon.path("policy.toml").display().to_string();
    let apply = (1..=ROUNDS).map(|round| {
        daemon.write("feed.txt", &texts[round % 2]);
        timed(&mut enforcer(lab, &daemon, &["apply", &policy])).0
    });
    let apply = Spread::of(apply.collect()).median;
    let allow = (0..ROUNDS).map(|_| allow::change(lab, &daemon, || ()));
    let allow = Spread::of(allow.collect()).median;
    let figures = Ours {
        apply,
        allow,
        start: Spread::of(starts).median,
        image: daemon.status()["policy"]["image_bytes"].as_f64().expect("a number") / MIB,
        charged: charged(&daemon),
        objects: objects(pid),
        started,
        resident: status(pid, "VmRSS"),
        peak: status(pid, "VmHWM"),
    };
    assert!(daemon.terminate().success() && daemon.detach().success(), "{}", daemon.log());
    figures
}

/// Milliseconds from the start of the process until it reports readiness to systemd.
fn start(daemon: &mut Daemon<'_>) -> f64 {
    let path = daemon.path("notify.sock");
    // The socket of the previous start.
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).expect("the directory is ours");
    socket.set_read_timeout(Some(DEADLINE)).expect("it is not zero");
    let begun = Instant::now();
    daemon.begin_by(&["env", &format!("NOTIFY_SOCKET={}", path.display())]);
    let mut message = [0; 64];
    let length = socket.recv(&mut message).unwrap_or_else(|e| panic!("{e}: {}", daemon.log()));
    let time = begun.elapsed().as_secs_f64() * 1e3;
    assert!(message[..length].starts_with(b"READY=1"), "{message:?}");
    assert_eq!(daemon.status()["enforcing"], true, "{}", daemon.log());
    time
}

/// The kernel's charge for the active image, in MiB.
fn charged(daemon: &Daemon<'_>) -> f64 {
    let generations = daemon.pinned().into_iter().filter(|name| name.starts_with("gen-"));
    let bytes = generations.map(|name| {
        let pin = daemon.pin(&name).join("IMAGE").display().to_string();
        let map = bpftool(&["map", "show", "pinned", &pin]);
        map["bytes_memlock"].as_u64().unwrap_or_else(|| panic!("{pin}: {map}"))
    });
    let bytes: Vec<u64> = bytes.collect();
    assert_eq!(bytes.len(), 1, "one generation is in force");
    bytes[0] as f64 / MIB
}

/// The same prefixes in a set of nftables, at the ingress of the same interface, replaced in one
/// transaction.
fn theirs(lab: &Lab, texts: &[String; 2]) -> Theirs {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let files = [0, 1].map(|variant| {
        let file = directory.path().join(format!("{variant}.nft"));
        std::fs::write(&file, ruleset(&texts[variant])).expect("it is ours");
        file.display().to_string()
    });
    let nft = |words: &[&str]| timed(&mut lab.gw.command("nft", words)).0;
    let before = slabs();
    // Not counted: there is nothing to replace.
    nft(&["-f", &files[0]]);
    let slabs = slabs() - before;
    let load = (1..=NFT_ROUNDS).map(|round| nft(&["-f", &files[round % 2]])).collect();
    nft(&["delete", "table", "netdev", "bench"]);
    Theirs { load: Spread::of(load).median, slabs }
}

fn ruleset(prefixes: &str) -> String {
    let elements: Vec<&str> = prefixes.lines().collect();
    format!(
        "table netdev bench\ndelete table netdev bench\ntable netdev bench {{\n\
         set feed {{\ntype ipv4_addr; flags interval; auto-merge\nelements = {{ {} }}\n}}\n\
         chain in {{\ntype filter hook ingress device \"lan0\" priority 0; policy drop;\n\
         ether saddr & ff:ff:ff:00:00:00 == 00:1b:44:00:00:00 ip daddr @feed tcp dport 443 accept\n\
         }}\n}}\n",
        elements.join(",\n")
    )
}

/// Figures of one size.
struct Row {
    prefixes: usize,
    ours: Ours,
    /// `None` without nft.
    theirs: Option<Theirs>,
}

impl Row {
    /// The size, figures of ours, and one of theirs.
    fn cells(&self, ours: &[f64], of: fn(&Theirs) -> f64) -> Vec<String> {
        let cell = |figure: f64| format!("{figure:.1}");
        let theirs = self.theirs.as_ref().map_or_else(|| "–".to_owned(), |nft| cell(of(nft)));
        let ours = ours.iter().copied().map(cell);
        [self.prefixes.to_string()].into_iter().chain(ours).chain([theirs]).collect()
    }
}

fn times(report: &mut Report, rows: &[Row]) {
    let cells = |row: &Row| {
        let Ours { apply, allow, start, .. } = row.ours;
        row.cells(&[apply, allow, start], |theirs| theirs.load)
    };
    let header = ["prefixes", "`enforcer apply`", "`enforcer allow`", "start", "`nft -f`"];
    let cells: Vec<_> = rows.iter().map(cells).collect();
    report.table("Time until it is in force, ms", &header, &cells);
    report.curve(Curve {
        file: "control-time",
        title: "Time until it is in force".to_owned(),
        abscissa: "prefixes in the policy",
        ordinate: "ms",
        series: vec![
            series("enforcer apply", rows, |row| Some(row.ours.apply)),
            series("start of the daemon", rows, |row| Some(row.ours.start)),
            series("enforcer allow", rows, |row| Some(row.ours.allow)),
            series("nft -f", rows, |row| Some(row.theirs.as_ref()?.load)),
        ],
    });
}

fn memory(report: &mut Report, rows: &[Row]) {
    let cells = |row: &Row| {
        let Ours { image, charged, objects, started, resident, peak, .. } = row.ours;
        let ours = [image, charged, objects, started, resident, peak];
        row.cells(&ours, |theirs| theirs.slabs)
    };
    let header = [
        "prefixes",
        "image",
        "kernel, image",
        "kernel, all",
        "daemon, started",
        "daemon, changed",
        "daemon, most",
        "kernel, nft",
    ];
    let cells: Vec<_> = rows.iter().map(cells).collect();
    report.table("Memory, MiB", &header, &cells);
    report.curve(Curve {
        file: "control-memory",
        title: "Memory of a policy".to_owned(),
        abscissa: "prefixes in the policy",
        ordinate: "MiB",
        series: vec![
            series("kernel, enforcer's image", rows, |row| Some(row.ours.charged)),
            series("daemon, after changes", rows, |row| Some(row.ours.resident)),
            // Less than a MiB is lost in the noise of other kernel activity.
            series("kernel, nft", rows, |row| {
                row.theirs.as_ref().map(|nft| nft.slabs).filter(|slabs| *slabs >= 1.0)
            }),
        ],
    });
}

fn targets(report: &mut Report, rows: &[Row]) {
    let (Some(Row { ours: small, .. }), Some(Row { ours: large, .. })) =
        (rows.first(), rows.last())
    else {
        return;
    };
    let mut target = |what, reached, bound, unit| {
        report.target(what, reached, Bound::AtMost(bound), unit);
    };
    let seconds = large.apply / 1e3;
    target("a policy with 1,000,000 prefixes, from file to force", seconds, 1.0, " s");
    target("kernel memory of its image", large.charged, 64.0, " MiB");
    target("daemon with a small policy, resident", small.resident, 25.0, " MiB");
    target("in force after its start", small.start / 1e3, 0.3, " s");
}

fn series(name: &str, rows: &[Row], of: fn(&Row) -> Option<f64>) -> Series {
    let points = rows.iter().filter_map(|row| Some((row.prefixes as f64, of(row)?)));
    (name.to_owned(), points.collect())
}
