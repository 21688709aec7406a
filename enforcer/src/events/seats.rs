//! Limits on followers of events: each user has a share, so that none can use up another's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most followers at a time, not counting root's.
pub const MAX_FOLLOWERS: usize = 32;
/// Most followers of one user other than root.
pub const MAX_EACH: usize = 8;
/// Most followers of root, which are counted separately.
pub const MAX_ROOT: usize = 16;
/// Most followers of viewers: operators have the rest.
const MAX_VIEWERS: usize = 24;

/// The kind of follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// A sink of the daemon itself; the settings determine their number.
    Sink,
    /// A file that the daemon writes: like any sink, with a longer queue.
    File,
    /// A user on the socket.
    User {
        /// The user, according to the kernel.
        uid: u32,
        /// Whether they may change what is enforced.
        operator: bool,
    },
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All are taken.
    #[error("{MAX_FOLLOWERS} programs follow the events already")]
    All,
    /// This user has reached the limit per user.
    #[error("{1} programs of uid {0} follow the events already, the most that one user may have")]
    User(u32, usize),
    /// Viewers have reached their limit.
    #[error("{MAX_VIEWERS} programs of viewers follow the events already")]
    Viewers,
}

/// Followers by user and role.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<HashMap<(u32, bool), usize>>>);

/// A follower's slot, freed when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Option<((u32, bool), Seats)>);

impl Seats {
    /// # Errors
    ///
    /// There is no room.
    pub(super) fn take(&self, seat: Seat) -> Result<Place, Full> {
        let Seat::User { uid, operator } = seat else { return Ok(Place(None)) };
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |of: &dyn Fn(u32, bool) -> bool| -> usize {
            taken.iter().filter(|((uid, operator), _)| of(*uid, *operator)).map(|(_, n)| n).sum()
        };
        let most = if uid == 0 { MAX_ROOT } else { MAX_EACH };
        if count(&|other, _| other == uid) >= most {
            return Err(Full::User(uid, most));
        }
        if uid != 0 && count(&|uid, _| uid != 0) >= MAX_FOLLOWERS {
            return Err(Full::All);
        }
        if !operator && count(&|_, operator| !operator) >= MAX_VIEWERS {
            return Err(Full::Viewers);
        }
        *taken.entry((uid, operator)).or_default() += 1;
        Ok(Place(Some(((uid, operator), self.clone()))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((key, seats)) = &self.0 else { return };
        let mut taken = seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_takes_the_share_of_another() {
        let seats = Seats::default();
        let take = |uid, operator, n| -> Vec<Place> {
            let seat = Seat::User { uid, operator };
            (0..n).map_while(|_| seats.take(seat).ok()).collect()
        };
        // Four viewers: three use up the viewers' limit.
        let viewers: Vec<_> = (1..=4).map(|uid| take(uid, false, 99)).collect();
        let counts: Vec<usize> = viewers.iter().map(Vec::len).collect();
        assert_eq!(counts, [MAX_EACH, MAX_EACH, MAX_EACH, 0]);
        assert_eq!(seats.take(Seat::User { uid: 4, operator: false }).unwrap_err(), Full::Viewers);
        let each = seats.take(Seat::User { uid: 1, operator: false }).unwrap_err();
        assert_eq!(
            each.to_string(),
            "8 programs of uid 1 follow the events already, the most that one user may have"
        );
        // Operators have room left, root is counted separately, and sinks are not limited.
        let operators = take(5, true, 99);
        assert_eq!(operators.len(), MAX_FOLLOWERS - MAX_VIEWERS);
        assert_eq!(seats.take(Seat::User { uid: 6, operator: true }).unwrap_err(), Full::All);
        let root = take(0, true, 99);
        assert_eq!(root.len(), MAX_ROOT);
        assert!(seats.take(Seat::Sink).is_ok());
        drop((viewers, operators, root));
        assert!(seats.0.lock().unwrap().is_empty());
    }
}
