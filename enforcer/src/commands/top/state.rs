//! The state of `top`: pure, so that a test needs neither a daemon nor a terminal.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use enforcer::api::{DeviceRow, RuleRow, Status};
use enforcer::events::event::{Direction, Refusal};
use enforcer::events::{Event, text};
use enforcer_common::reason::Verdict;

use super::popup::{Form, Popup};

/// Samples of a sparkline: one a second.
pub(super) const SAMPLES: usize = 60;
/// Destinations kept for each device; further ones replace the least frequent one.
const MAX_DESTINATIONS: usize = 64;
/// Most devices with kept destinations.
const MAX_DEVICES: usize = 4096;

/// The daemon's answers, queried once a second.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) status: Status,
    pub(super) devices: Vec<DeviceRow>,
    pub(super) rules: Vec<RuleRow>,
}

/// A counter and how fast it grows.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    last: Option<u64>,
    /// Growth per second.
    pub(super) rate: f64,
    /// Growth by sample, the oldest first.
    pub(super) history: VecDeque<u64>,
}

impl Series {
    /// Adds the counter's value, `elapsed` after the previous one.
    fn sample(&mut self, value: u64, elapsed: Duration) {
        // A counter that fell was reset.
        let growth = self.last.map_or(0, |last| value.checked_sub(last).unwrap_or(value));
        self.last = Some(value);
        let seconds = elapsed.as_secs_f64().max(0.001);
        self.rate = growth as f64 / seconds;
        if self.history.len() >= SAMPLES {
            self.history.pop_front();
        }
        self.history.push_back(growth);
    }
}

/// A refused destination of a device, from the events that were seen.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// `202.114.4.119 tcp/515`.
    pub(super) text: String,
    /// Address and service as written in a policy; `None` if not IP.
    pub(super) endpoint: Option<(String, String)>,
    /// Frames, and their bytes.
    pub(super) frames: u64,
    pub(super) bytes: u64,
    /// Why the last one was refused: the reason, the rule and the operator's reason for it.
    pub(super) why: String,
    /// Whether the last one passed because the group is observed.
    pub(super) observed: bool,
}

/// One device.
#[derive(Clone, Debug, Default)]
pub(super) struct Device {
    pub(super) row: DeviceRow,
    pub(super) drops: Series,
}

impl Device {
    /// Refused frames, observed or not.
    pub(super) fn refused(&self) -> u64 {
        self.row.dropped + self.row.would_drop
    }

    /// Its label: name, MAC or address.
    pub(super) fn name(&self) -> &str {
        let row = &self.row;
        row.device.as_deref().or(row.mac.as_deref()).or(row.ip.as_deref()).unwrap_or("-")
    }
}

/// What the list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tab {
    #[default]
    Devices,
    Rules,
    Reasons,
}

/// Sort order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Drops,
    Rate,
    Bytes,
    Name,
}

impl Sort {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Drops => "drops",
            Self::Rate => "rate",
            Self::Bytes => "bytes",
            Self::Name => "name",
        }
    }

    pub(super) fn next(self) -> Self {
        match self {
            Self::Drops => Self::Rate,
            Self::Rate => Self::Bytes,
            Self::Bytes => Self::Name,
            Self::Name => Self::Drops,
        }
    }
}

/// The whole state.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) status: Option<Status>,
    pub(super) devices: BTreeMap<String, Device>,
    pub(super) destinations: BTreeMap<String, Vec<Destination>>,
    pub(super) rules: Vec<(RuleRow, Series)>,
    pub(super) reasons: BTreeMap<String, Series>,
    pub(super) dropped: Series,
    pub(super) passed: Series,
    /// Why there is nothing new.
    pub(super) trouble: Option<String>,
    pub(super) tab: Tab,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) paused: bool,
    pub(super) popup: Popup,
    /// The device whose detail is shown.
    pub(super) detail: Option<String>,
    /// The key of the selected line: lines move, and an order must not apply to a different one.
    pub(super) cursor: Option<String>,
    /// Lines in the ring buffer or here that were lost.
    pub(super) lost: u64,
    at: Option<Duration>,
}

impl State {
    /// Takes the daemon's answers, at a time since the start.
    pub(super) fn update(&mut self, at: Duration, snapshot: Snapshot) {
        self.trouble = None;
        if self.paused {
            return;
        }
        let elapsed = at.saturating_sub(self.at.unwrap_or(at));
        self.at = Some(at);
        let Snapshot { status, devices, rules } = snapshot;
        let mut before = std::mem::take(&mut self.devices);
        for row in devices {
            let key = key(row.mac.as_deref(), row.device.as_deref(), row.ip.as_deref());
            let mut device = before.remove(&key).unwrap_or_default();
            device.row = row;
            device.drops.sample(device.refused(), elapsed);
            self.devices.insert(key, device);
        }
        let mut before: BTreeMap<String, Series> =
            self.rules.drain(..).map(|(row, series)| (row.id, series)).collect();
        for row in rules {
            let mut series = before.remove(&row.id).unwrap_or_default();
            series.sample(row.frames, elapsed);
            self.rules.push((row, series));
        }
        let (mut dropped, mut passed) = (0, 0);
        for reason in &status.reasons {
            let sum = if reason.verdict == "drop" { &mut dropped } else { &mut passed };
            *sum += reason.frames;
            self.reasons.entry(reason.reason.clone()).or_default().sample(reason.frames, elapsed);
        }
        self.dropped.sample(dropped, elapsed);
        self.passed.sample(passed, elapsed);
        self.status = Some(status);
    }

    /// Takes an event.
    pub(super) fn note(&mut self, event: &Event) {
        if self.paused {
            return;
        }
        let refusal = match event {
            Event::Drop(refusal) => refusal,
            Event::Lost(lost) => {
                self.lost += lost.count;
                return;
            }
            Event::Suppressed(_) | Event::Tamper(_) | Event::Other(..) => return,
        };
        // The screen is about what devices send.
        if refusal.direction == Direction::In {
            return;
        }
        let mac = event.mac().map(|mac| mac.to_string());
        let source = refusal.source.map(|address| address.to_string());
        let key = key(mac.as_deref(), refusal.device.as_deref(), source.as_deref());
        if self.destinations.len() >= MAX_DEVICES && !self.destinations.contains_key(&key) {
            return;
        }
        let known = self.destinations.entry(key).or_default();
        let text = text::destination(refusal);
        let at = known.iter().position(|destination| destination.text == text);
        let at = at.unwrap_or_else(|| add(known, refusal, text));
        let destination = &mut known[at];
        let frames = 1 + refusal.suppressed;
        destination.frames += frames;
        destination.bytes += u64::from(refusal.length) * frames;
        let rule = refusal.rule.as_ref();
        let reason = rule.and_then(|rule| rule.reason.as_deref());
        let why = [Some(refusal.reason.as_str()), rule.map(|rule| &*rule.id), reason];
        destination.why = why.into_iter().flatten().collect::<Vec<_>>().join(" ");
        destination.observed = refusal.verdict == Verdict::WouldDrop;
    }

    /// The connection was lost, and why.
    pub(super) fn lose(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// Bytes of a device's refused frames, according to events.
    pub(super) fn bytes(&self, key: &str) -> u64 {
        self.destinations.get(key).map_or(0, |known| known.iter().map(|to| to.bytes).sum())
    }

    /// Devices that the filter lets through, sorted, by key.
    pub(super) fn listed(&self) -> Vec<(&str, &Device)> {
        let mut rows: Vec<(&str, &Device)> = self
            .devices
            .iter()
            .filter(|(_, device)| {
                let row = &device.row;
                let texts = [&row.device, &row.mac, &row.ip, &row.last_destination];
                self.fits(texts.into_iter().flatten().chain([&row.group]))
            })
            .map(|(key, device)| (key.as_str(), device))
            .collect();
        match self.sort {
            Sort::Drops => rows.sort_by_key(|(_, device)| std::cmp::Reverse(device.refused())),
            Sort::Rate => rows.sort_by(|a, b| b.1.drops.rate.total_cmp(&a.1.drops.rate)),
            Sort::Bytes => rows.sort_by_key(|(key, _)| std::cmp::Reverse(self.bytes(key))),
            Sort::Name => rows.sort_by(|a, b| a.1.name().cmp(b.1.name())),
        }
        rows
    }

    /// Destinations of the device whose detail is shown.
    pub(super) fn tried(&self) -> Vec<&Destination> {
        let known = self.detail.as_ref().and_then(|key| self.destinations.get(key));
        let mut rows: Vec<&Destination> = known.into_iter().flatten().collect();
        match self.sort {
            Sort::Drops | Sort::Rate => rows.sort_by_key(|to| std::cmp::Reverse(to.frames)),
            Sort::Bytes => rows.sort_by_key(|to| std::cmp::Reverse(to.bytes)),
            Sort::Name => rows.sort_by(|a, b| a.text.cmp(&b.text)),
        }
        rows
    }

    /// Rules that the filter lets through, sorted.
    pub(super) fn listed_rules(&self) -> Vec<&(RuleRow, Series)> {
        let fits = |row: &RuleRow| {
            let texts = [&row.id, &row.group, &row.to, &row.service];
            self.fits(texts.into_iter().chain(row.reason.as_ref()))
        };
        let mut rows: Vec<_> = self.rules.iter().filter(|(row, _)| fits(row)).collect();
        match self.sort {
            Sort::Drops => rows.sort_by_key(|(row, _)| std::cmp::Reverse(row.frames)),
            Sort::Rate => rows.sort_by(|a, b| b.1.rate.total_cmp(&a.1.rate)),
            Sort::Bytes => rows.sort_by_key(|(row, _)| std::cmp::Reverse(row.bytes)),
            Sort::Name => rows.sort_by(|a, b| a.0.group.cmp(&b.0.group)),
        }
        rows
    }

    fn fits<'a>(&self, mut texts: impl Iterator<Item = &'a String>) -> bool {
        let wanted = self.filter.to_lowercase();
        wanted.is_empty() || texts.any(|text| text.to_lowercase().contains(&wanted))
    }

    /// Keys of the lines that are shown, in order.
    pub(super) fn keys(&self) -> Vec<String> {
        match (self.detail.is_some(), self.tab) {
            (true, _) => self.tried().into_iter().map(|to| to.text.clone()).collect(),
            (false, Tab::Devices) => {
                self.listed().into_iter().map(|(key, _)| key.to_owned()).collect()
            }
            (false, Tab::Rules) => {
                self.listed_rules().into_iter().map(|(row, _)| row.id.clone()).collect()
            }
            (false, Tab::Reasons) => {
                let status = self.status.iter().flat_map(|status| &status.reasons);
                status.map(|reason| reason.reason.clone()).collect()
            }
        }
    }

    /// Position of the selected line; the first one if none is selected or it is gone.
    pub(super) fn position(&self) -> usize {
        let keys = self.keys();
        let cursor = self.cursor.as_ref();
        cursor.and_then(|cursor| keys.iter().position(|key| key == cursor)).unwrap_or(0)
    }

    /// Moves the selection by this many lines.
    pub(super) fn step(&mut self, by: isize) {
        let keys = self.keys();
        let to = self.position().saturating_add_signed(by).min(keys.len().saturating_sub(1));
        self.cursor = keys.into_iter().nth(to);
    }

    /// An allow rule for the selected line; a notice if that is impossible.
    pub(super) fn allow_selected(&self) -> Popup {
        let key = match &self.detail {
            Some(key) => Some(key.clone()),
            None if self.tab == Tab::Devices => self.keys().into_iter().nth(self.position()),
            None => None,
        };
        let device = key.as_ref().and_then(|key| Some((key, self.devices.get(key)?)));
        let Some((key, device)) = device else {
            return Popup::Notice("select a device, or one of its destinations".into());
        };
        let known = match &self.detail {
            Some(_) => self.tried().into_iter().nth(self.position()),
            None => {
                let last = device.row.last_destination.as_deref();
                let known = self.destinations.get(key).into_iter().flatten();
                known.into_iter().find(|to| Some(to.text.as_str()) == last)
            }
        };
        let last = || {
            let (to, service) = device.row.last_destination.as_ref()?.split_once(' ')?;
            Some((to.to_owned(), service.to_owned()))
        };
        let endpoint = match (known, &self.detail) {
            (Some(known), _) => known.endpoint.clone(),
            (None, None) => last(),
            (None, Some(_)) => None,
        };
        let Some((to, service)) = endpoint else {
            return Popup::Notice("there is no destination that a rule could allow".into());
        };
        let target = device.name().to_owned();
        let time = "1h".to_owned();
        Popup::Allow(Form { target, to, service, time, ..Form::default() })
    }
}

/// A device by its MAC; one without by its name or address.
fn key(mac: Option<&str>, name: Option<&str>, ip: Option<&str>) -> String {
    mac.or(name).or(ip).unwrap_or("-").to_owned()
}

/// Adds a destination, and removes the least frequent one if there are too many.
fn add(known: &mut Vec<Destination>, refusal: &Refusal, text: String) -> usize {
    if known.len() >= MAX_DESTINATIONS {
        let least = (0..known.len()).min_by_key(|at| known[*at].frames).unwrap_or(0);
        known.remove(least);
    }
    let service = Some(text::service(refusal)).filter(|service| !service.is_empty());
    known.push(Destination {
        text,
        endpoint: refusal.destination.map(|address| address.to_string()).zip(service),
        frames: 0,
        bytes: 0,
        why: String::new(),
        observed: false,
    });
    known.len() - 1
}
