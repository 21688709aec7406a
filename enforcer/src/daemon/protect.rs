//! The protected interfaces: which ones they are, and how the program is attached to them.

use log::{error, info, warn};

use super::core::{Core, preference};
use super::{Error, failure};
use crate::dataplane::{self, Attached, How};
use crate::guard::Guarded;
use crate::guard::plan::{self, Missing};
use crate::host::Link;

impl Core {
    /// The interfaces to protect, under their names in the policy.
    pub(super) fn chosen(&self, links: &[Link]) -> Vec<Link> {
        plan::chosen(&self.settings.interfaces, &self.guarded, links)
    }

    /// Protects every configured interface that can be protected. The others are logged, shown in the
    /// status, and retried at each check.
    ///
    /// # Errors
    ///
    /// Every interface exists and none can be protected: the error of the first one.
    pub(super) fn protect_all(&mut self, links: &[Link]) -> Result<(), Error> {
        let mut first = None;
        let mut is_missing = false;
        for name in self.settings.interfaces.clone() {
            let Some(link) = links.iter().find(|link| link.name == name) else {
                is_missing = true;
                let error = Error::from(dataplane::Error::NoInterface(name.clone()));
                self.unprotected(&name, "interface-missing", &error);
                continue;
            };
            let known = self.protected_before.known(link.index);
            match self.protect(link, links) {
                Ok(how) => self.say_how(link, how, known),
                Err(e) => {
                    self.unprotected(&name, "not-protected", &e);
                    first = first.or(Some(e));
                }
            }
        }
        match first {
            Some(e) if self.guarded.is_empty() && !is_missing => Err(e),
            _ => Ok(()),
        }
    }

    fn unprotected(&mut self, name: &str, reason: &'static str, error: &Error) {
        let failure = failure(error);
        error!("{name} is NOT protected: {}; it is tried again each second", failure.error);
        if let Some(hint) = failure.hint {
            error!("hint: {hint}");
        }
        self.starts.push(format!("{name}: not protected: {}", failure.error));
        self.tamper(reason, Some(name), format!("{name} is not protected: {}", failure.error));
    }

    /// Reports how an interface was protected at the start, and whether there was a gap before.
    fn say_how(&mut self, link: &Link, how: How, known: Option<u32>) {
        let name = &link.name;
        let number = self.engine.dataplane.link_id(link.index).unwrap_or(0);
        let lost = match (how, known) {
            (How::Adopted, _) => {
                self.starts.push(format!("{name}: adopted, link {number}"));
                return;
            }
            (How::First, None) => {
                self.starts.push(format!("{name}: first, link {number}"));
                return;
            }
            (How::Anew { link }, _) => format!("link {link} was dead"),
            (How::First, Some(link)) => format!("link {link} was gone"),
        };
        self.starts.push(format!("{name}: attached anew, link {number}: {lost}"));
        let text = format!(
            "{name} was not protected for a time before this start: {lost} ({}); it is protected now",
            "detached or unpinned while no daemon ran"
        );
        self.remember(text.clone());
        self.tamper("detached", Some(&link.name), text);
    }

    /// Attaches the program to an interface, or adopts an attached one.
    pub(super) fn protect(&mut self, link: &Link, links: &[Link]) -> Result<How, Error> {
        let interface = link.name.clone();
        if let Some(kind) = link.no_ethernet.clone() {
            return Err(dataplane::Error::NoEthernet { interface, kind }.into());
        }
        if let Some(below) = link.hides_frames(links) {
            let kind = link.kind.as_ref().map(ToString::to_string).unwrap_or_default();
            return Err(dataplane::Error::Hidden { interface, kind, below }.into());
        }
        let present = links.iter().find(|other| other.index == link.index);
        let present = present.map_or(&link.name, |link| &link.name).clone();
        let preference = preference(self.settings.xdp);
        let done = self.engine.dataplane.protect(link.interface(&present), preference)?;
        let same =
            |guarded: &&mut Guarded| guarded.name == link.name && guarded.index != link.index;
        if let Some(other) = self.guarded.iter_mut().find(same) {
            // A renamed interface stays protected, in addition to the one that now has its name.
            other.name.clone_from(&other.present);
            let index = other.index;
            if !links.iter().any(|link| link.index == index) {
                self.engine.dataplane.release(index)?;
                self.guarded.retain(|guarded| guarded.index != index);
            }
        }
        self.guarded.retain(|guarded| guarded.index != link.index);
        self.guarded.push(Guarded::new(link.name.clone(), present, link.index, done.note));
        self.look_often();
        self.remember_links();
        Ok(done.how)
    }

    /// Checks with the kernel that every interface with the program is guarded: the daemon's own records do
    /// not count.
    pub(super) async fn confirm(&mut self) -> Result<(), Error> {
        let links = self.kernel.links().await?;
        let mut others = Vec::new();
        for link in &links {
            let ours = self.guarded.iter_mut().find(|guarded| guarded.index == link.index);
            let Some(ours) = ours else { continue };
            ours.native = Some(link.attached.native);
            if !self.engine.dataplane.guards(link.attached) {
                let Attached { program: id, native } = link.attached;
                let interface = link.name.clone();
                others.push(dataplane::Error::Busy { interface, id, native });
            }
        }
        for error in others {
            error!("{}", failure(&error.into()).error);
        }
        self.follow_stack(&links).await;
        Ok(())
    }

    /// Attaches the program to an unprotected interface, or logs why that fails.
    pub(super) fn attach_again(&mut self, link: &Link, why: Missing, links: &[Link]) {
        let (reason, what) = (why.reason(), why.words());
        let name = link.name.clone();
        // One failure must not prevent protecting the others.
        let text = match self.protect(link, links) {
            Ok(_) => {
                self.watched.reattached += 1;
                info!("{name} is protected again");
                format!("{name} was not protected: {what}; attached again")
            }
            Err(e) => {
                let why = failure(&e).error;
                let text = format!("{name} is not protected: {what}, and {why}");
                // Log once, not every second.
                if !self.remember(text.clone()) {
                    return;
                }
                warn!("{name} is tried again each second");
                text
            }
        };
        self.tamper(reason, Some(&name), text);
    }

    /// Stores which links are attached, so that the next start detects a link that was lost in between.
    fn remember_links(&mut self) {
        let ids = self.guarded.iter().filter_map(|guarded| {
            Some((guarded.index, self.engine.dataplane.link_id(guarded.index)?))
        });
        self.protected_before.set(ids.collect());
        if let Err(e) = self.state.save_protected(&self.protected_before) {
            warn!("{}", failure(&e.into()).error);
        }
    }
}
