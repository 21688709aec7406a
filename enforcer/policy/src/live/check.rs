//! What a change by command may say: the same as a policy.

use super::super::address::ParseError;
use super::super::remark::{MAX_WORD, check, check_end, check_remark, mended, nearest_end};
use super::{LiveAction, LiveChange};

impl LiveChange {
    /// Whether it may be made: its texts and its end are held to what a policy may say, so that the policy
    /// with it can be written down and read again. Whether it fits a policy, [`with_live`] tells.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), ParseError> {
        check("the target", &self.target, MAX_WORD)?;
        if let LiveAction::Allow(end) | LiveAction::Deny(end) = &self.action {
            check("`to`", &end.to, MAX_WORD)?;
            check("`service`", &end.service, MAX_WORD)?;
        }
        for (key, text) in [("reason", &self.reason), ("owner", &self.owner)] {
            text.as_ref().map_or(Ok(()), |text| check_remark(key, text))?;
        }
        self.until.map_or(Ok(()), check_end)
    }

    /// The same change as [`LiveChange::check`] takes it, for one that an earlier version kept: a rule must not
    /// end because of how its reason is written.
    #[must_use]
    pub fn mended(mut self) -> Self {
        for text in [&mut self.reason, &mut self.owner].into_iter().flatten() {
            *text = mended(text);
        }
        self.until = self.until.map(nearest_end);
        self
    }
}
