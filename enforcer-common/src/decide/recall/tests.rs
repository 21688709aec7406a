use super::*;

#[test]
fn tags_are_found_where_they_were_put() {
    let mut tags = 0;
    for tag in [7, 9, 0xffff, 11] {
        assert_eq!(way(tags, tag), None);
        tags = with_tag(tags, tag);
        assert_eq!(tag_at(tags, way(tags, tag).unwrap()), tag);
    }
    assert_eq!((way(tags, 7), way(tags, 9)), (Some(0), Some(1)), "{tags:x}");
}

#[test]
fn every_place_is_taken_in_time() {
    let (mut tags, mut taken) = (0, [0; WAYS as usize]);
    for tag in 1..1_000 {
        tags = with_tag(tags, tag);
        taken[way(tags, tag).unwrap() as usize] += 1;
    }
    assert!(taken.iter().all(|times| *times > 100), "{taken:?}");
}

#[test]
fn flows_that_differ_little_are_spread() {
    let key = |n: u64| V4 { sender: 2 | n << 40, place: 0x2_0006_bb01, addresses: 10 | n << 24 };
    let mut sets = std::collections::HashMap::<u32, u32>::new();
    for n in 0..4_096 {
        *sets.entry(spot(&key(n)).0).or_default() += 1;
    }
    let crowded: u32 = sets.values().filter(|flows| **flows > WAYS).sum();
    assert!(crowded < 200, "{crowded} flows share a set with more than three others");
}
