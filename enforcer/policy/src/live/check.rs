//! Validates live changes by the rules of a policy.

use super::super::address::ParseError;
use super::super::remark::{MAX_WORD, check, check_end, check_remark, mended, nearest_end};
use super::LiveChange;

impl LiveChange {
    /// Checks texts and end by the rules of a policy, so that the policy with the change can be written and
    /// read again. Whether the change fits a policy is checked by [`with_live`].
    ///
    /// # Errors
    ///
    /// The first problem.
    pub fn check(&self) -> Result<(), ParseError> {
        check("the target", &self.target, MAX_WORD)?;
        if let Some((action, end)) = self.action.rule() {
            check(&format!("`{}`", action.end()), &end.to, MAX_WORD)?;
            check("`service`", &end.service, MAX_WORD)?;
        }
        for (key, text) in [("reason", &self.reason), ("owner", &self.owner)] {
            text.as_ref().map_or(Ok(()), |text| check_remark(key, text))?;
        }
        self.until.map_or(Ok(()), check_end)
    }

    /// The change adapted to what [`LiveChange::check`] accepts, for changes stored by an earlier version:
    /// a rule must not end because of the wording of its reason.
    #[must_use]
    pub fn mended(mut self) -> Self {
        for text in [&mut self.reason, &mut self.owner].into_iter().flatten() {
            *text = mended(text);
        }
        self.until = self.until.map(nearest_end);
        self
    }
}
