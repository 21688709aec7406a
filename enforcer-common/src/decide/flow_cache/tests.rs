use super::*;

#[test]
fn tags_are_found_where_they_were_put() {
    let mut tags = 0;
    for tag in [7, 9, 0xffff, 11] {
        assert_eq!(way(tags, tag), None);
        tags = with_tag(tags, tag);
        assert_eq!(tag_at(tags, way(tags, tag).unwrap()), tag);
    }
    let two = with_tag(with_tag(0, 7), 9);
    assert_eq!((way(two, 7), way(two, 9)), (Some(0), Some(1)), "{two:x}");
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
        *sets.entry(bucket(&key(n)).0).or_default() += 1;
    }
    let crowded: u32 = sets.values().filter(|flows| **flows > WAYS).sum();
    assert!(crowded < 200, "{crowded} flows share a set with more than three others");
}

struct Lines(Vec<Line>);

impl Memory for Lines {
    fn line(&mut self, number: Number) -> Option<&mut Line> {
        self.0.get_mut(number.get() as usize)
    }
}

#[test]
fn flows_of_one_set_stand_side_by_side_the_last_one_first() {
    let key = |n: u64| V4 { sender: 2, place: 0x2_0006_bb01, addresses: n };
    let set = bucket(&key(0)).0;
    let keys: Vec<_> = (0..100_000).map(key).filter(|key| bucket(key).0 == set).take(3).collect();
    let mut memory = Lines(vec![Line::default(); LINES as usize]);
    let mut context = FrameContext::NEW;
    context.decision.reason = Reason::Allow;
    context.decision.verdict = Verdict::Pass;
    assert!(is_cacheable(&context));
    for key in &keys {
        assert_eq!(insert(&mut memory, key, &context), None, "the first time it leaves its tag");
        assert_eq!(insert(&mut memory, key, &context), Some(()));
        let first = memory.line(Number::flow(set, 0)).unwrap();
        assert!(key.is(first));
    }
    for key in &keys {
        let tags = memory.line(Number::tags(set)).unwrap().0[(set & 7) as usize];
        let place = way(tags, bucket(key).1).unwrap();
        assert!(key.is(memory.line(Number::flow(set, place)).unwrap()), "{tags:x}");
    }
}
