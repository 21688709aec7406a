//! Captures, byte by byte.

use std::io::Write as _;

use enforcer::policy::explain::link::ETHERNET;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// Writes a capture to a file and reads it from there.
fn written(bytes: &[u8]) -> Result<Capture> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    read(file.path(), 0)
}

fn why(bytes: &[u8]) -> String {
    format!("{:#}", written(bytes).unwrap_err())
}

fn frame(bytes: &[u8], length: u32) -> Frame {
    Frame { bytes: bytes.to_vec(), length, link: ETHERNET, interface: None, arrived: None }
}

/// Numbers in one byte order.
#[derive(Clone, Copy)]
struct Bytes {
    big: bool,
}

const BOTH: [Bytes; 2] = [Bytes { big: false }, Bytes { big: true }];

impl Bytes {
    fn word(self, word: u32) -> Vec<u8> {
        if self.big { word.to_be_bytes() } else { word.to_le_bytes() }.to_vec()
    }

    fn half(self, half: u16) -> Vec<u8> {
        if self.big { half.to_be_bytes() } else { half.to_le_bytes() }.to_vec()
    }

    fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| self.word(*word)).collect()
    }

    /// The header of a pcap.
    fn pcap(self, magic: u32, (major, minor): (u16, u16), link: u32) -> Vec<u8> {
        let version = [self.half(major), self.half(minor)].concat();
        [self.word(magic), version, self.words(&[0, 0, 65_535, link])].concat()
    }

    /// A frame of a pcap.
    fn record(self, known: &[u8], length: u32) -> Vec<u8> {
        [self.words(&[1, 2, known.len() as u32, length]), known.to_vec()].concat()
    }

    /// A block of a pcapng.
    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut padded = body.to_vec();
        padded.resize(body.len().next_multiple_of(4), 0);
        let length = self.word(padded.len() as u32 + 12);
        [self.word(kind), length.clone(), padded, length].concat()
    }

    fn section(self) -> Vec<u8> {
        let version = [self.half(1), self.half(0)].concat();
        self.block(0x0a0d_0d0a, &[self.word(0x1a2b_3c4d), version, vec![0xff; 8]].concat())
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut padded = value.to_vec();
        padded.resize(value.len().next_multiple_of(4), 0);
        [self.half(code), self.half(value.len() as u16), padded].concat()
    }

    fn interface(self, link: u16, snap: u32, options: &[u8]) -> Vec<u8> {
        let head = [self.half(link), self.half(0), self.word(snap)].concat();
        self.block(1, &[&head, options].concat())
    }

    fn enhanced(self, interface: u32, known: &[u8], length: u32, options: &[u8]) -> Vec<u8> {
        let mut padded = known.to_vec();
        padded.resize(known.len().next_multiple_of(4), 0);
        let head = self.words(&[interface, 0, 0, known.len() as u32, length]);
        self.block(6, &[&head, &padded[..], options].concat())
    }

    fn simple(self, known: &[u8], length: u32) -> Vec<u8> {
        self.block(3, &[&self.word(length), known].concat())
    }

    fn obsolete(self, interface: u16, known: &[u8], length: u32) -> Vec<u8> {
        let head = [self.half(interface), self.half(0)].concat();
        let lengths = self.words(&[0, 0, known.len() as u32, length]);
        self.block(2, &[&head, &lengths, known].concat())
    }
}

#[test]
fn pcap_of_every_magic_and_both_byte_orders() {
    for bytes in BOTH {
        for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
            let header = bytes.pcap(magic, (2, 4), 1);
            let file = [header, bytes.record(&[7; 20], 1000), bytes.record(&[8; 60], 60)].concat();
            let capture = written(&file).unwrap();
            assert_eq!(capture.frames, [frame(&[7; 20], 1000), frame(&[8; 60], 60)], "{magic:x}");
            assert_eq!(capture.end, None);
        }
        // Kuznetzov's: index, protocol, type of packet.
        let record = |kind: u8| {
            let more = [bytes.word(3), bytes.half(8), vec![kind, 0]].concat();
            [bytes.words(&[1, 2, 60, 60]), more, vec![8; 60]].concat()
        };
        let file = [bytes.pcap(0xa1b2_cd34, (2, 4), 1), record(0), record(4)].concat();
        let sent = Frame { arrived: Some(false), ..frame(&[8; 60], 60) };
        assert_eq!(written(&file).unwrap().frames, [frame(&[8; 60], 60), sent]);
    }
}

#[test]
fn old_versions_have_the_lengths_the_other_way_round() {
    let bytes = BOTH[1];
    let swapped = [bytes.words(&[1, 2, 1000, 20]), vec![7; 20]].concat();
    for version in [(2, 2), (2, 3), (543, 0)] {
        let file = [bytes.pcap(0xa1b2_c3d4, version, 1), swapped.clone()].concat();
        assert_eq!(written(&file).unwrap().frames, [frame(&[7; 20], 1000)], "{version:?}");
    }
    let file = [bytes.pcap(0xa1b2_c3d4, (2, 3), 1), bytes.record(&[7; 20], 1000)].concat();
    assert_eq!(written(&file).unwrap().frames, [frame(&[7; 20], 1000)]);
    assert!(why(&bytes.pcap(0xa1b2_c3d4, (1, 0), 1)).contains("version 1.0"));
}

#[test]
fn a_check_sum_is_no_part_of_the_frame() {
    let with_fcs = [[8; 60].as_slice(), &[0xfc; 4]].concat();
    for bytes in BOTH {
        // Two times 16 bits, in the word with the link type.
        let header = bytes.pcap(0xa1b2_c3d4, (2, 4), 1 | 1 << 26 | 2 << 28);
        let short = bytes.record(&with_fcs[..62], 64);
        let file = [header, bytes.record(&with_fcs, 64), short].concat();
        assert_eq!(written(&file).unwrap().frames, [frame(&[8; 60], 60), frame(&[8; 60], 60)]);
        // By the interface, and by each packet.
        let flags = bytes.option(2, &bytes.word(4 << 5 | 1));
        let file = [
            bytes.section(),
            bytes.interface(1, 0, &bytes.option(13, &[4])),
            bytes.interface(1, 0, &[]),
            bytes.enhanced(0, &with_fcs, 64, &[]),
            bytes.enhanced(1, &with_fcs, 64, &flags),
        ];
        let arrived = Frame { arrived: Some(true), ..frame(&[8; 60], 60) };
        assert_eq!(written(&file.concat()).unwrap().frames, [frame(&[8; 60], 60), arrived]);
    }
}

#[test]
fn pcapng_of_several_sections_and_all_packet_blocks() {
    let mut file = Vec::new();
    for bytes in BOTH {
        let name = |name: &str| bytes.option(2, name.as_bytes());
        let sent = bytes.option(2, &bytes.word(2));
        file.extend(bytes.section());
        file.extend(bytes.interface(1, 64, &[name("lan0"), bytes.option(1, b"why")].concat()));
        file.extend(bytes.block(5, &[0; 12]));
        file.extend(bytes.interface(101, 0, &name("any")));
        file.extend(bytes.enhanced(0, &[1; 61], 61, &sent));
        file.extend(bytes.simple(&[2; 64], 1000));
        file.extend(bytes.simple(&[3; 61], 61));
        file.extend(bytes.obsolete(1, &[0x45; 20], 20));
        file.extend(bytes.block(0x8000_0bad, b"what only its maker knows"));
    }
    let lan0 =
        |bytes: &[u8], length| Frame { interface: Some("lan0".into()), ..frame(bytes, length) };
    let section = [
        Frame { arrived: Some(false), ..lan0(&[1; 61], 61) },
        lan0(&[2; 64], 1000),
        lan0(&[3; 61], 61),
        Frame { link: 101, ..frame(&[0x45; 20], 20) },
    ];
    let capture = written(&file).unwrap();
    assert_eq!(capture.frames, [section.clone(), section].concat());
    assert_eq!((capture.count, capture.end), (8, None));
}

#[test]
fn what_is_whole_of_a_cut_file_is_read() {
    let bytes = BOTH[0];
    let classic = [
        bytes.pcap(0xa1b2_c3d4, (2, 4), 1),
        bytes.record(&[1; 60], 60),
        bytes.record(&[2; 60], 60),
    ];
    let next = [
        [bytes.section(), bytes.interface(1, 0, &[])].concat(),
        bytes.enhanced(0, &[1; 60], 60, &[]),
        bytes.enhanced(0, &[2; 60], 60, &[]),
    ];
    for parts in [classic, next] {
        let file = parts.concat();
        let second = parts[0].len() + parts[1].len();
        for cut in second + 1..file.len() {
            let capture = written(&file[..cut]).unwrap();
            assert_eq!(capture.frames, [frame(&[1; 60], 60)], "{cut}");
            assert_eq!(capture.end.as_deref(), Some("cut off behind frame 1"), "{cut}");
        }
        assert_eq!(written(&file[..second]).unwrap().end, None);
        assert!(why(&file[..second - 1]).contains("has no whole frame"));
        // An impossible length.
        let mut damaged = file.clone();
        let at = if parts[0].len() == 24 { second + 11 } else { second + 7 };
        damaged[at] = 0x7f;
        let end = written(&damaged).unwrap().end.unwrap();
        assert!(end.ends_with("behind frame 1"), "{end}");
    }
}

#[test]
fn no_cut_and_no_flip_is_more_than_an_error() {
    let bytes = BOTH[1];
    let classic = [bytes.pcap(0xa1b2_cd34, (2, 4), 1), vec![3; 60]].concat();
    let next = [
        bytes.section(),
        bytes.interface(1, 96, &bytes.option(2, b"lan0")),
        bytes.simple(&[3; 60], 60),
        bytes.obsolete(0, &[3; 60], 60),
        bytes.enhanced(0, &[3; 60], 60, &bytes.option(2, &bytes.word(1))),
    ];
    for file in [classic, next.concat()] {
        for at in 0..file.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bent = file.clone();
                bent[at] = value;
                let _ = written(&bent);
                let _ = written(&bent[..at]);
            }
        }
    }
}

#[test]
fn packed_by_gzip() {
    let bytes = BOTH[0];
    let mut file = bytes.pcap(0xa1b2_c3d4, (2, 4), 1);
    for n in 0..100_u32 {
        let text: Vec<u8> =
            (0..15).flat_map(|i| (n * 31 + i).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        file.extend(bytes.record(&text, 60));
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&file).unwrap();
    let packed = encoder.finish().unwrap();
    let capture = written(&packed).unwrap();
    assert_eq!((capture.count, capture.end), (100, None));
    let capture = written(&packed[..packed.len() / 2]).unwrap();
    assert!((1..100).contains(&capture.count), "{capture:?}");
    assert!(capture.end.unwrap().starts_with("not unpacked to its end ("));
}

#[test]
fn what_is_no_capture() {
    let bytes = BOTH[0];
    let none = bytes.pcap(0xa1b2_c3d4, (2, 4), 1);
    assert!(why(b"schema = 1, which is no capture").ends_with("as pcap or pcapng: it is neither"));
    assert!(
        why(&[&[0x0a, 0x0d, 0x0d, 0x0a], [7; 30].as_slice()].concat()).contains("it is neither")
    );
    assert!(why(b"").ends_with("as pcap or pcapng: it is cut off"));
    assert!(why(&none).ends_with("has no frame"));
    let wireless = [bytes.pcap(0xa1b2_c3d4, (2, 4), 105), bytes.record(&[0; 60], 60)].concat();
    assert!(why(&wireless).contains("its frames are of link type 105; Ethernet (1)"));
    // Numbers are those of the file, however many frames are kept.
    let many: Vec<u8> = (0..MAX_FRAMES + 5).flat_map(|_| bytes.record(&[0; 14], 14)).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [none, many].concat()).unwrap();
    let count = |first| {
        let capture = read(file.path(), first).unwrap();
        (capture.frames.len(), capture.count)
    };
    assert_eq!(count(0), (MAX_FRAMES, MAX_FRAMES + 5));
    assert_eq!(count(MAX_FRAMES + 2), (3, MAX_FRAMES + 5));
}
