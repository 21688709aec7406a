//! What can be in front of the list.

/// An allow rule that is being made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// Device: a name or a MAC address.
    pub(super) target: String,
    pub(super) to: String,
    pub(super) service: String,
    pub(super) reason: String,
    /// How long: `1h`.
    pub(super) time: String,
    /// Whether the time is being written, not the reason.
    pub(super) at_time: bool,
    /// Whether only the yes is missing.
    pub(super) ready: bool,
    /// What is missing or wrong.
    pub(super) problem: String,
}

/// What is in front of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Popup {
    #[default]
    None,
    Help,
    /// The filter is being written.
    Filter,
    Allow(Form),
    /// What came of an order.
    Notice(String),
}
