//! Dialogs in front of the list.

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
    /// Whether the time is being edited, not the reason.
    pub(super) at_time: bool,
    /// Whether only the confirmation is missing.
    pub(super) ready: bool,
    /// What is missing or wrong.
    pub(super) problem: String,
}

/// The dialog in front of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Popup {
    #[default]
    None,
    Help,
    /// The filter is being edited.
    Filter,
    Allow(Form),
    /// The result of an order.
    Notice(String),
}
