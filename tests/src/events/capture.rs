//! `tail --pcap`, read by tshark and tcpdump.

use super::{LOUD, POLICY, QUIET, datagram};
use crate::harness::daemon::binary;
use crate::harness::frames::{ethernet, mac, send};
use crate::harness::topology::{DEV1_MAC, HOSTILE};
use crate::harness::wait::DEADLINE;
use crate::harness::{Daemon, Lab, lacking, skip, wait_until};

/// The frame's bytes that an event carries.
const HEAD: usize = enforcer_common::abi::HEAD;

#[test]
fn tshark_reads_every_frame_with_its_comment() {
    let lacking = lacking(&["tshark", "tcpdump"]);
    if !lacking.is_empty() {
        let test = "tshark_reads_every_frame_with_its_comment";
        return skip(test, &format!("no {} here", lacking.join(", ")));
    }
    let lab = Lab::gateway("capture");
    let daemon = Daemon::start(&lab.gw, &["lan0"], POLICY);
    let hostile = HOSTILE.parse::<std::net::Ipv4Addr>().expect("an address").to_bits();
    let frames = [
        datagram(LOUD, hostile, 515, b"short"),
        datagram(LOUD, 0xc633_640a, 9, &[b'x'; 1000]),
        datagram(QUIET, 0xc633_640b, 9, &[b'y'; 100]),
        ethernet(mac("02:00:00:20:00:01"), mac(DEV1_MAC), 0x88b5, b"no policy can allow it"),
    ];
    // One writes to a file, and one to a pipe that is read meanwhile.
    let socket = daemon.path("enforcer.sock").display().to_string();
    let file = daemon.path("drops.pcapng").display().to_string();
    let follows = || daemon.log().matches("follows the events").count();
    let fields = "-T fields -e frame.comment -e frame.len -e frame.cap_len -e eth.src \
                  -e frame.interface_name -e _ws.malformed";
    let tail = format!("{} --socket {socket} tail --not-device 00:1b:44:00:00:00", binary());
    let pipe = format!("{tail} --pcap - -n 4 | tshark -l -n -r - {fields}");
    let live = lab.gw.spawn("sh", &["-c", &pipe]);
    let count = frames.len().to_string();
    let to_file = lab.gw.spawn("sh", &["-c", &format!("{tail} --pcap {file} -n {count}")]);
    wait_until("both follow", || (follows() == 2).then_some(()));
    for frame in &frames {
        send(if frame[6..12] == mac(DEV1_MAC) { &lab.dev1 } else { &lab.dev2 }, "eth0", frame);
    }
    let (live, written) = (live.finish(DEADLINE), to_file.finish(DEADLINE));
    assert!(live.success() && written.success(), "{live:?} {written:?}");

    let words: Vec<&str> = fields.split_whitespace().collect();
    let again = lab.gw.run("tshark", &[&["-n", "-r", &file], &words[..]].concat(), DEADLINE);
    assert_eq!(again.stdout, live.stdout);
    let comments = [
        "DROP loud (beds): deny r-",
        "DROP loud (beds): no rule allows it",
        "DROP quiet (beds): no rule allows it",
        "DROP loud (beds): EtherType that no policy can allow",
    ];
    let lines: Vec<Vec<&str>> =
        live.stdout.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), frames.len(), "{live:?}");
    for ((line, frame), comment) in lines.iter().zip(&frames).zip(comments) {
        let length = frame.len();
        // Before 5.18 a frame is copied by words.
        let captured = line[2].parse::<usize>().expect("a number");
        assert!(captured <= length.min(HEAD) && captured + 4 > length.min(HEAD), "{line:?}");
        assert!(line[0].starts_with(comment), "{line:?}");
        let source = mac(line[3]);
        assert_eq!((line[1], &source[..], line[4]), (&*length.to_string(), &frame[6..12], "lan0"));
        assert_eq!(line.get(5).copied().unwrap_or_default(), "", "malformed: {line:?}");
    }
    assert!(lines[0][0].ends_with("ICSMA-25-030-01"), "{lines:?}");
    let dump = lab.gw.run("tcpdump", &["-n", "-r", &file], DEADLINE);
    // Unknown packets are printed as indented bytes.
    let read = dump.stdout.lines().filter(|line| !line.starts_with('\t')).count();
    assert_eq!(read, frames.len(), "{dump:?}");
}
