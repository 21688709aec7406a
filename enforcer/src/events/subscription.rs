//! A follower's request: which events, from when on, and how much of each.

use jiff::Timestamp;

use super::filter::{self, Filter, percent_encode};

/// The events for a follower. The empty one takes every event from now on, without frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Which events.
    pub filter: Filter,
    /// Also those that the daemon still has from this time on.
    pub since: Option<Timestamp>,
    /// Whether the first bytes of each frame come with it.
    pub frames: bool,
}

impl From<Filter> for Subscription {
    fn from(filter: Filter) -> Self {
        Self { filter, ..Self::default() }
    }
}

impl Subscription {
    /// Reads a query that is already split and decoded.
    ///
    /// # Errors
    ///
    /// A part has an unknown name or an invalid value.
    pub fn from_query(parts: &[(String, String)]) -> Result<Self, filter::Error> {
        let mut all = Self::default();
        for (name, value) in parts {
            let wrong = |what| filter::Error::Value(format!("`{value}` {what}"));
            match (name.as_str(), value.as_str()) {
                ("frame", "1" | "true") => all.frames = true,
                ("frame", "0" | "false") => all.frames = false,
                ("frame", _) => return Err(wrong("is neither 1 nor 0")),
                ("since", _) => {
                    let since = value.parse();
                    let what = "is no time such as 2026-11-23T12:00:00Z";
                    all.since = Some(since.map_err(|_| wrong(what))?);
                }
                _ => all.filter.add(name, value)?,
            }
        }
        Ok(all)
    }

    /// Its query string, with `?`; empty for the empty subscription.
    pub fn query(&self) -> String {
        let mut parts = vec![self.filter.query()];
        if let Some(since) = self.since {
            let mut part = "since=".to_owned();
            percent_encode(&since.to_string(), &mut part);
            parts.push(part);
        }
        if self.frames {
            parts.push("frame=1".to_owned());
        }
        parts.retain(|part| !part.is_empty());
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::tests::filter;
    use super::*;

    fn read(parts: &[(&str, &str)]) -> Result<Subscription, filter::Error> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Subscription::from_query(&parts.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn queries() {
        assert_eq!(read(&[]), Ok(Subscription::default()));
        assert_eq!(Subscription::default().query(), "");
        let all = Subscription {
            filter: filter(&[("group", "pumps"), ("not_to", "10.0.0.0/8")]),
            since: "2026-11-23T12:00:00.5Z".parse().ok(),
            frames: true,
        };
        assert_eq!(
            all.query(),
            "?group=pumps&not_to=10.0.0.0%2F8&since=2026-11-23T12%3A00%3A00.5Z&frame=1"
        );
        let parts = [
            ("group", "pumps"),
            ("since", "2026-11-23T13:00:00.5+01:00"),
            ("not_to", "10.0.0.0/8"),
            ("frame", "true"),
        ];
        assert_eq!(read(&parts), Ok(all));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (name, value) in [("frame", "yes"), ("since", "10m"), ("grop", "pumps"), ("to", "x")] {
            assert!(read(&[(name, value)]).is_err(), "{name}={value}");
        }
    }
}
