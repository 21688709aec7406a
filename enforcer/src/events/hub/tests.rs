//! Which published events followers get.

use super::*;
use crate::events::event::Refusal;
use crate::events::event::tests::refusal;
use crate::events::filter::Filter;
use crate::events::filter::tests::filter;

const ROOT: Seat = Seat::User { uid: 0, operator: true };
const VIEWER: Seat = Seat::User { uid: 1_000, operator: false };

/// Reads to the end; the hub must be closed.
async fn read(mut follower: Follower) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(more) = follower.next(64).await {
        events.extend(more.into_iter().map(|published| published.event.clone()));
    }
    events
}

/// An event with a number in it.
fn numbered(number: u64) -> Event {
    Event::Drop(Refusal { suppressed: number, ..refusal() }.into())
}

/// The number of an event; for a loss, its count.
fn number(event: &Event) -> u64 {
    event.refusal().map_or_else(|| event.count(), |refusal| refusal.suppressed)
}

fn of_group(group: &str, number: u64) -> Event {
    let group = Some(group.into());
    Event::Drop(Refusal { group, suppressed: number, ..refusal() }.into())
}

#[tokio::test]
async fn a_slow_reader_loses_its_own_lines_and_learns_how_many() {
    let hub = Hub::new();
    let stalled = hub.follow(Filter::default(), ROOT).unwrap();
    let max = MAX_LINES as u64;
    for n in 0..max + 100 {
        hub.publish(numbered(n));
    }
    let other = hub.follow(Filter::default(), Seat::Sink).unwrap();
    hub.publish(numbered(7));
    hub.close();

    let events = read(stalled).await;
    assert_eq!(events.len() as u64, max + 1);
    for (n, event) in (0..max).zip(&events) {
        assert_eq!(number(event), n);
    }
    let Event::Lost(last) = events.last().unwrap() else { panic!("{:?}", events.last()) };
    assert_eq!((&last.cause, last.count), (&ReasonName::of(SLOW_READER), 101));
    assert_eq!((last.head.generation, last.head.revision), (3, 2));

    assert_eq!(read(other).await, [numbered(7)]);
}

#[tokio::test]
async fn the_line_about_loss_stands_where_the_lines_are_missing() {
    let hub = Hub::new();
    let mut follower = hub.follow(Filter::default(), ROOT).unwrap();
    for n in 0..MAX_LINES as u64 + 5 {
        hub.publish(numbered(n));
    }
    let mut seen = 0;
    while seen <= MAX_LINES / 2 {
        seen += follower.next(64).await.unwrap().len();
    }
    hub.publish(numbered(9999));
    hub.close();
    let events = read(follower).await;
    assert_eq!(events.len() + seen, MAX_LINES + 2);
    let [.., lost, last] = &events[..] else { panic!("{events:?}") };
    assert_eq!((lost.kind(), lost.count()), ("lost", 5));
    assert_eq!(number(last), 9999);
}

#[tokio::test]
async fn a_filtered_follower_is_not_crowded_out_by_unwanted_events() {
    let hub = Hub::new();
    let follower = hub.follow(filter(&[("group", "pumps")]), Seat::Sink).unwrap();
    for n in 0..MAX_LINES as u64 * 2 {
        hub.publish(numbered(n));
    }
    let pump = of_group("pumps", 0);
    hub.publish(pump.clone());
    hub.close();
    assert_eq!(read(follower).await, [pump]);
}

#[tokio::test]
async fn past_events_come_first_and_are_filtered() {
    let hub = Hub::new();
    for n in 0..2000 {
        hub.publish(if n % 1000 == 999 { of_group("pumps", n) } else { numbered(n) });
    }
    let since = |time: &str| Subscription {
        filter: filter(&[("group", "pumps")]),
        since: time.parse().ok(),
        frames: true,
    };
    // The events are from 11:03:04.123456 UTC.
    let all = hub.follow(since("2026-11-23T11:03:04Z"), Seat::Sink).unwrap();
    let late = hub.follow(since("2026-11-23T11:03:05Z"), Seat::Sink).unwrap();
    let pump = of_group("pumps", 7);
    hub.publish(pump.clone());
    hub.close();
    let told: Vec<_> = read(all).await.iter().map(number).collect();
    assert_eq!(told, [999, 1999, 7]);
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

/// Followers that ask for all past events and read nothing hold no copy of them.
#[tokio::test]
async fn the_past_is_not_copied_for_each_follower() {
    let hub = Hub::new();
    for n in 0..40_000 {
        hub.publish(numbered(n));
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
    // References of the backlog, and of this check.
    assert_eq!(shared(&hub), Some(2));
    // A follower that reads while new events come gets each one that is still kept, and a count of
    // the rest.
    let reader = followers.remove(0);
    for n in 40_000..60_000 {
        hub.publish(numbered(n));
    }
    hub.close();
    let events = read(reader).await;
    let (told, missed): (Vec<_>, Vec<_>) =
        events.iter().partition(|event| event.refusal().is_some());
    let missed: u64 = missed.iter().map(|event| event.count()).sum();
    assert_eq!(told.len() as u64 + missed, kept.end - kept.start + 20_000);
    assert!(told.is_sorted_by_key(|event| number(event)));
}
