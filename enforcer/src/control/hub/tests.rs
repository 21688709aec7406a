//! What followers get of what is published.

use http_body_util::BodyExt;

use super::*;
use crate::control::filter::Filter;
use crate::control::filter::tests::{event, filter};

const ROOT: Seat = Seat::User { uid: 0, operator: true };
const VIEWER: Seat = Seat::User { uid: 1_000, operator: false };

/// Reads to the end; the hub must be closed.
async fn read(follower: Follower) -> Vec<Event> {
    let bytes = follower.collect().await.unwrap().to_bytes();
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn numbered(n: u64) -> Event {
    let mut event = event();
    event.enforcer.count = n;
    event
}

#[tokio::test]
async fn who_does_not_read_loses_his_own_lines_and_is_told_how_many() {
    let hub = Hub::new();
    let stalled = hub.follow(Filter::default(), ROOT).unwrap();
    let max = MAX_LINES as u64;
    for n in 0..max + 100 {
        hub.publish(&numbered(n));
    }
    let other = hub.follow(Filter::default(), Seat::Sink).unwrap();
    hub.publish(&numbered(7));
    hub.close();

    let events = read(stalled).await;
    assert_eq!(events.len() as u64, max + 1);
    for (n, event) in (0..max).zip(&events) {
        assert_eq!(event.enforcer.count, n);
    }
    let last = events.last().unwrap();
    assert_eq!(last.event_type, "lost");
    assert_eq!(last.enforcer.reason.as_deref(), Some(SLOW_READER));
    assert_eq!(last.enforcer.count, 101);
    assert_eq!((last.enforcer.generation, last.enforcer.revision), (3, 2));

    assert_eq!(read(other).await, [numbered(7)]);
}

#[tokio::test]
async fn the_line_about_loss_stands_where_the_lines_are_missing() {
    let hub = Hub::new();
    let mut follower = hub.follow(Filter::default(), ROOT).unwrap();
    for n in 0..MAX_LINES as u64 + 5 {
        hub.publish(&numbered(n));
    }
    let mut seen = 0;
    while seen <= MAX_LINES / 2 {
        let chunk = follower.frame().await.unwrap().unwrap().into_data().unwrap();
        seen += chunk.iter().filter(|b| **b == b'\n').count();
    }
    hub.publish(&numbered(9999));
    hub.close();
    let events = read(follower).await;
    assert_eq!(events.len() + seen, MAX_LINES + 2);
    let [.., lost, last] = &events[..] else { panic!("{events:?}") };
    assert_eq!((lost.event_type.as_str(), lost.enforcer.count), ("lost", 5));
    assert_eq!(last.enforcer.count, 9999);
}

#[tokio::test]
async fn a_filtered_follower_is_not_crowded_out_by_what_he_did_not_ask_for() {
    let hub = Hub::new();
    let follower = hub.follow(filter(&[("group", "pumps")]), Seat::Sink).unwrap();
    for n in 0..MAX_LINES as u64 * 2 {
        hub.publish(&numbered(n));
    }
    let mut pump = event();
    pump.enforcer.group = Some("pumps".into());
    hub.publish(&pump);
    hub.close();
    assert_eq!(read(follower).await, [pump]);
}

#[tokio::test]
async fn who_asks_for_the_past_gets_what_he_wants_of_it_first() {
    let hub = Hub::new();
    for n in 0..2000 {
        let mut event = numbered(n);
        if n % 1000 == 999 {
            event.enforcer.group = Some("pumps".into());
        }
        hub.publish_with(&event, Some("AAEC"));
    }
    let since = |time: &str| Subscription {
        filter: filter(&[("group", "pumps")]),
        since: time.parse().ok(),
        frames: true,
    };
    // The events are from 11:03:04.123456 UTC.
    let all = hub.follow(since("2026-11-23T11:03:04Z"), Seat::Sink).unwrap();
    let late = hub.follow(since("2026-11-23T11:03:05Z"), Seat::Sink).unwrap();
    let mut pump = numbered(7);
    pump.enforcer.group = Some("pumps".into());
    hub.publish(&pump);
    hub.close();
    let told: Vec<_> =
        read(all).await.into_iter().map(|e| (e.enforcer.count, e.packet.is_some())).collect();
    assert_eq!(told, [(999, true), (1999, true), (7, false)]);
    assert_eq!(read(late).await, [pump]);
}

#[test]
fn followers_are_counted() {
    let hub = Hub::new();
    assert!(!hub.is_followed());
    let mut followers: Vec<_> =
        (0..MAX_ROOT).map(|_| hub.follow(Filter::default(), ROOT).unwrap()).collect();
    assert_eq!(hub.follow(Filter::default(), ROOT).unwrap_err(), Full::User(0, MAX_ROOT));
    assert!(hub.follow(Filter::default(), VIEWER).is_ok());
    followers.pop();
    assert!(hub.follow(Filter::default(), ROOT).is_ok());
    followers.clear();
    assert!(!hub.is_followed());
}

/// Many that ask for all of the past and read nothing hold no copy of it.
#[tokio::test]
async fn the_past_is_not_copied_for_each_follower() {
    let hub = Hub::new();
    for n in 0..40_000 {
        hub.publish_with(&numbered(n), Some("AAEC"));
    }
    let all =
        || Subscription { since: Some(Timestamp::MIN), frames: true, ..Subscription::default() };
    let kept = lock(&hub.0.followers).past.since(Timestamp::MIN);
    let mut followers: Vec<_> = (0..MAX_ROOT).map(|_| hub.follow(all(), ROOT).unwrap()).collect();
    for follower in &followers {
        assert_eq!(follower.past, kept);
    }
    let shared = |hub: &Hub| {
        let (lines, _) = lock(&hub.0.followers).past.read(&mut kept.clone(), usize::MAX);
        lines.iter().map(Arc::strong_count).max()
    };
    // The past's own, and the one that looks.
    assert_eq!(shared(&hub), Some(2));
    // One that reads while new ones come gets each that is still there, and hears of the rest.
    let reader = followers.remove(0);
    for n in 40_000..60_000 {
        hub.publish_with(&numbered(n), Some("AAEC"));
    }
    hub.close();
    let events = read(reader).await;
    let (told, missed): (Vec<_>, Vec<_>) = events.iter().partition(|e| e.event_type != LOST);
    let missed: u64 = missed.iter().map(|event| event.enforcer.count).sum();
    assert_eq!(told.len() as u64 + missed, kept.end - kept.start + 20_000);
    assert!(told.is_sorted_by_key(|event| event.enforcer.count));
}
