//! Captures in the formats of other machines: `explain` judges the same frames that tcpdump reads.
use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::harness::daemon::binary;

const POLICY: &str = "schema = 1\n[groups.beds]\nmembers = [\"00:1b:44:11:3a:b7\"]\n\
     allow = [{ to = \"10.30.0.10\", service = \"tcp/515\" }]\n[unknown]\ndefault = \"drop\"\n";
const BED: [u8; 6] = [0x00, 0x1b, 0x44, 0x11, 0x3a, 0xb7];

/// A SYN to a port of the central station, as an IP packet.
fn packet(port: u16) -> Vec<u8> {
    let tcp = enforcer_testkit::frames::Tcp::new(port).segment(&[]);
    enforcer_testkit::frames::V4::new(0x0a14_000c, 0x0a1e_000a, 6).packet(&tcp)
}

/// The same as an Ethernet frame.
fn frame(port: u16) -> Vec<u8> {
    enforcer_testkit::frames::Ethernet::new(BED).frame(0x0800, &packet(port))
}

/// Numbers of one byte order.
#[derive(Clone, Copy)]
struct Order(bool);

impl Order {
    fn word(self, word: u32) -> Vec<u8> {
        if self.0 { word.to_be_bytes() } else { word.to_le_bytes() }.to_vec()
    }

    fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| self.word(*word)).collect()
    }

    /// Two halves in one word.
    fn halves(self, first: u16, second: u16) -> Vec<u8> {
        let pair = if self.0 { [first, second] } else { [second, first] };
        self.word(u32::from(pair[0]) << 16 | u32::from(pair[1]))
    }

    fn pcap(self, magic: u32, link: u32, frames: &[Vec<u8>], snap: usize) -> Vec<u8> {
        let version = self.halves(2, 4);
        let mut file = [self.word(magic), version, self.words(&[0, 0, 65_535, link])].concat();
        for frame in frames {
            let known = frame.get(..snap).unwrap_or(frame);
            file.extend(self.words(&[1, 2, known.len() as u32, frame.len() as u32]));
            if magic == 0xa1b2_cd34 {
                file.extend([0; 8]);
            }
            file.extend(known);
        }
        file
    }

    fn block(self, kind: u32, mut body: Vec<u8>) -> Vec<u8> {
        body.resize(body.len().next_multiple_of(4), 0);
        let length = self.word(body.len() as u32 + 12);
        [self.word(kind), length.clone(), body, length].concat()
    }

    /// A section with one interface, and the frames in one kind of block.
    fn pcapng(self, link: u16, kind: u32, frames: &[Vec<u8>]) -> Vec<u8> {
        let head = [self.word(0x1a2b_3c4d), self.halves(1, 0), vec![0xff; 8]].concat();
        let interface = [self.halves(link, 0), self.word(0)].concat();
        let mut file = [self.block(0x0a0d_0d0a, head), self.block(1, interface)].concat();
        for frame in frames {
            let length = frame.len() as u32;
            let head = match kind {
                3 => self.word(length),
                2 => [self.halves(0, 0), self.words(&[0, 0, length, length])].concat(),
                _ => self.words(&[0, 0, 0, length, length]),
            };
            file.extend(self.block(kind, [head, frame.clone()].concat()));
        }
        file
    }
}

/// Frames that tcpdump reads from a file.
fn tcpdump(path: &Path) -> usize {
    let out = Command::new("tcpdump").args(["-n", "-t", "-r"]).arg(path).output();
    let out = out.expect("tcpdump runs");
    String::from_utf8_lossy(&out.stdout)
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .count()
}

/// The output of `explain` for them, without a daemon, and its standard error.
#[track_caller]
fn explain(dir: &Path, path: &Path) -> (Vec<Value>, String) {
    let policy = dir.join("policy.toml");
    fs::write(&policy, POLICY).expect("it is ours");
    let mut command = Command::new(binary());
    command.args(["explain", "--json", "--policy"]).arg(&policy).arg("--pcap").arg(path);
    let out = command.output().expect("it runs");
    let errors = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{}: {errors}", path.display());
    let lines = String::from_utf8_lossy(&out.stdout).into_owned();
    (lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(), errors)
}

#[test]
fn what_tcpdump_reads_is_judged() {
    let dir = tempfile::tempdir().expect("a directory");
    let (good, bad) = (515, 516);
    let ethernet = [frame(good), frame(bad)];
    let with_fcs = ethernet.clone().map(|frame| [frame, vec![0xfc; 4]].concat());
    let raw = [packet(good), packet(bad)];
    let cooked = raw.clone().map(|packet| {
        let head = [&[0, 0, 0, 1, 0, 6], BED.as_slice(), &[0, 0, 8, 0]].concat();
        [head, packet].concat()
    });
    let cooked2 = raw.clone().map(|packet| {
        let head = [&[8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6], BED.as_slice(), &[0, 0]].concat();
        [head, packet].concat()
    });
    let mut files = Vec::new();
    for big in [false, true] {
        let order = Order(big);
        for magic in [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34] {
            files.push((format!("{magic:x}"), order.pcap(magic, 1, &ethernet, 1500)));
        }
        let fcs = 1 | 1 << 26 | 2 << 28;
        files.push(("fcs".into(), order.pcap(0xa1b2_c3d4, fcs, &with_fcs, 1500)));
        for (link, frames) in [(113, &cooked), (276, &cooked2), (228, &raw), (101, &raw)] {
            files.push((format!("link {link}"), order.pcap(0xa1b2_c3d4, link, frames, 1500)));
        }
        for kind in [2, 3, 6] {
            files.push((format!("block {kind}"), order.pcapng(1, kind, &ethernet)));
        }
        let two = [order.pcapng(1, 6, &ethernet[..1]), Order(!big).pcapng(1, 3, &ethernet[1..])];
        files.push(("sections".into(), two.concat()));
    }
    for (number, (name, bytes)) in files.iter().enumerate() {
        let path = dir.path().join(format!("{number}.pcap"));
        fs::write(&path, bytes).expect("it is ours");
        let (answers, errors) = explain(dir.path(), &path);
        // libpcap 1.10 stops at a section of another byte order; `explain` also judges the frames after
        // it.
        let read = if name == "sections" { 1 } else { 2 };
        assert_eq!(tcpdump(&path), read, "{name}");
        // The policy knows the bed only by its MAC, and these have none.
        let unnamed = ["link 228", "link 101"].contains(&name.as_str());
        let expected = if unnamed { ["drop", "drop"] } else { ["pass", "drop"] };
        let verdicts: Vec<&Value> = answers.iter().map(|answer| &answer["verdict"]).collect();
        assert_eq!(verdicts, expected, "{number} {name}: {answers:#?}");
        assert!(!errors.contains("cut off"), "{name}: {errors}");
    }
}

#[test]
fn what_is_whole_of_a_cut_capture_is_judged_and_short_frames_are_not_blamed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("cut.pcap");
    let frames = [frame(515), frame(516), frame(515)];
    for order in [Order(false), Order(true)] {
        for file in [order.pcap(0xa1b2_c3d4, 1, &frames, 1500), order.pcapng(1, 6, &frames)] {
            fs::write(&path, &file[..file.len() - 9]).expect("it is ours");
            assert_eq!(tcpdump(&path), 2);
            let (answers, errors) = explain(dir.path(), &path);
            assert_eq!(answers.len(), 2, "{answers:#?}");
            assert!(errors.contains("cut.pcap is cut off behind frame 2"), "{errors}");
        }
        fs::write(&path, order.pcap(0xa1b2_c3d4, 1, &frames, 40)).expect("it is ours");
        assert_eq!(tcpdump(&path), 3);
        let (answers, _) = explain(dir.path(), &path);
        for answer in answers {
            assert_eq!(answer["reason"], "capture-cut", "{answer}");
            assert!(
                answer["text"].to_string().contains("the capture has 40 bytes of this frame of")
            );
        }
    }
}
