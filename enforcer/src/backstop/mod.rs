//! The backstop: two static nftables tables, independent of the daemon, that drop traffic forwarded
//! from a protected interface unless the interface's *index* is armed. A new interface has a new
//! index, so it starts shut.
//!
//! - [`table`]: the tables in nftables' JSON
//! - [`stack`]: which interfaces are on top of which
//! - [`forward`]: chains of other tools that drop forwarded traffic
//! - `nft`: runs the `nft` program
//! - `memory`: names found, for the next boot

pub mod forward;
mod memory;
mod nft;
pub mod stack;
pub mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::api::Exit;
use crate::fault::Fault;
use crate::host::{Link, boot_id};
use memory::Memory;
use stack::{Root, Stack, armed, follow};
use table::{Family, Sets, Table};

/// Why the tables are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program `nft` is missing.
    #[error("the program `nft` is not installed")]
    NoNft,
    /// The program cannot be run.
    #[error("cannot run nft")]
    Start(#[source] std::io::Error),
    /// The program does not end.
    #[error("nft does not answer")]
    Slow,
    /// The kernel or nft refuses.
    #[error("nft: {0}")]
    Refused(String),
    /// The program's answer is not JSON.
    #[error("cannot read nft's answer")]
    Answer(#[source] serde_json::Error),
    /// A name that nft would interpret differently.
    #[error("nft does not support the interface name `{0}`")]
    Name(String),
    /// The settings require tables that do not exist.
    #[error("the settings require the backstop, and its tables are not installed")]
    Absent,
    /// The state cannot be written.
    #[error("cannot write {}", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Fault for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoNft => Some("install nftables: apt install nftables"),
            Self::Absent => Some("enforcer backstop install"),
            Self::Refused(why) if why.contains("not permitted") => {
                Some("run as root, or with CAP_NET_ADMIN")
            }
            Self::Name(_) => {
                Some("rename the interface: letters, digits, `.`, `-` and `_` are always right")
            }
            Self::Start(_)
            | Self::Slow
            | Self::Refused(_)
            | Self::Answer(_)
            | Self::Memory { .. } => None,
        };
        hint.map(str::to_owned)
    }

    fn exit(&self) -> Exit {
        Exit::Kernel
    }
}

/// The tables that the kernel has.
pub type Tables = BTreeMap<Family, Table>;

/// Asks the kernel.
pub async fn look() -> Result<Tables, Error> {
    let mut tables = Tables::new();
    for family in Family::ALL {
        if let Some(table) = nft::list(family).await? {
            tables.insert(family, table);
        }
    }
    Ok(tables)
}

/// nft's listing of flowtables, which bypass the tables (libnftables-json(5)).
pub async fn flowtables() -> Result<serde_json::Value, Error> {
    nft::ask(&["list", "flowtables"]).await
}

/// Installs or repairs the tables in one transaction; returns the names that they protect. With
/// `keep`, armed interfaces stay armed; otherwise all start shut.
pub async fn install(
    interfaces: &[String],
    state_dir: &Path,
    keep: bool,
) -> Result<BTreeSet<String>, Error> {
    let memory = Memory::open(state_dir);
    let roots: Vec<Root> =
        interfaces.iter().map(|name| Root { name: name.clone(), guarded: false }).collect();
    // Without looking at the existing links: the network may not be up.
    let stack = follow(&memory.stack(), &roots, &[]);
    let protected: BTreeSet<String> = stack.into_keys().collect();
    memory.set_removed(false)?;
    put(&Sets { protected: protected.clone(), armed: BTreeSet::new() }, keep).await?;
    memory.set_installed();
    Ok(protected)
}

/// Removes the tables for good: a running daemon does not restore them. Returns what was removed.
pub async fn remove(state_dir: &Path) -> Result<Vec<String>, Error> {
    Memory::open(state_dir).set_removed(true)?;
    delete().await
}

/// Removes the tables without a later start reporting them as lost, and returns what was removed.
pub async fn detach(state_dir: &Path) -> Result<Vec<String>, Error> {
    Memory::open(state_dir).forget_installed();
    delete().await
}

/// Removes the tables and returns what was removed.
async fn delete() -> Result<Vec<String>, Error> {
    let families: Vec<Family> = look().await?.into_keys().collect();
    if families.is_empty() {
        return Ok(Vec::new());
    }
    nft::run(table::remove(&families)).await?;
    Ok(families.iter().map(|family| format!("table {} {}", family.name(), table::TABLE)).collect())
}

/// Creates the tables. Other objects with their names are replaced in the same transaction.
async fn put(sets: &Sets, keep: bool) -> Result<(), Error> {
    if let Some(name) = sets.protected.iter().find(|name| !is_plain(name)) {
        return Err(Error::Name(name.clone()));
    }
    match nft::run(table::install(sets, keep)).await {
        Err(Error::Refused(why)) if !why.contains("not permitted") => {
            log::warn!("the backstop's tables cannot be repaired ({why}): replacing them");
            let families: Vec<Family> = look().await?.into_keys().collect();
            let mut commands = table::remove(&families);
            commands.extend(table::install(sets, false));
            nft::run(commands).await
        }
        result => result,
    }
}

/// Whether nft takes a name as it is: `@set`, `lan*` and quotes mean something else.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('@') && !name.contains(['*', '"', '\\'])
}

/// What happened to the tables since the last check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// They are unchanged.
    #[default]
    None,
    /// Another program changed or removed them; they are restored.
    Restored,
    /// They are installed again after a reboot.
    Rebooted,
    /// The operator installed them.
    Installed,
    /// The operator removed them.
    Removed,
}

/// The daemon's control of the tables.
#[derive(Debug)]
pub struct Guard {
    memory: Memory,
    stack: Stack,
    tables: Tables,
    /// The tables as they should be, as nft prints them.
    whole: Tables,
    /// The contents last put into the sets.
    sets: Sets,
}

impl Guard {
    /// Repairs the tables if they exist. If they were installed and are gone, and the operator did not remove
    /// them, they are installed again: [`Change::Restored`], or [`Change::Rebooted`] if a reboot removed them.
    pub async fn open(state_dir: &Path) -> Result<(Self, Change), Error> {
        let memory = Memory::open(state_dir);
        let stack = memory.stack();
        let mut guard = Self {
            memory,
            stack,
            tables: look().await?,
            whole: Tables::new(),
            sets: Sets::default(),
        };
        let is_whole = Family::ALL.iter().all(|family| guard.tables.contains_key(family));
        let change = match guard.memory.installed_in() {
            Some(_) if is_whole || guard.memory.is_removed() => Change::None,
            Some(boot) if !boot.is_empty() && boot_id().as_ref() == Some(&boot) => Change::Restored,
            Some(_) => Change::Rebooted,
            None => Change::None,
        };
        if guard.is_installed() || change != Change::None {
            guard.take_over();
            guard.restore(true).await?;
        }
        Ok((guard, change))
    }

    /// Names in tables made by another process stay protected until the stack is known.
    fn take_over(&mut self) {
        self.sets.protected = self.stack.keys().cloned().collect();
        let found = self.tables.values().flat_map(|table| table.protected.iter().cloned());
        self.sets.protected.extend(found);
    }

    /// Whether the kernel had the tables at the last check.
    pub fn is_installed(&self) -> bool {
        !self.tables.is_empty()
    }

    async fn restore(&mut self, keep: bool) -> Result<(), Error> {
        put(&self.sets, keep).await?;
        self.memory.set_installed();
        self.tables = look().await?;
        self.whole = self.tables.clone();
        Ok(())
    }

    /// Asks the kernel for the tables, and repairs what was changed.
    pub async fn check(&mut self) -> Result<Change, Error> {
        let had = !self.whole.is_empty();
        self.tables = look().await?;
        let is_whole = Family::ALL.iter().all(|family| {
            let pair = (self.tables.get(family), self.whole.get(family));
            matches!(pair, (Some(now), Some(whole)) if now.has_shape_of(whole))
        });
        if !is_whole && self.memory.is_removed() {
            // Both are being removed, and this check may still have seen one of them.
            self.whole.clear();
            self.tables.clear();
            return Ok(if had { Change::Removed } else { Change::None });
        }
        match (had, is_whole) {
            (true, true) => Ok(Change::None),
            (true, false) => self.restore(false).await.map(|()| Change::Restored),
            (false, _) if self.tables.is_empty() => Ok(Change::None),
            (false, _) => {
                self.take_over();
                self.restore(true).await.map(|()| Change::Installed)
            }
        }
    }

    /// Updates the sets to the current links; `true` if another program had changed their contents.
    pub async fn follow(&mut self, roots: &[Root], links: &[Link]) -> Result<bool, Error> {
        let stack = follow(&self.stack, roots, links);
        if stack != self.stack {
            self.stack = stack;
            self.memory.save(&self.stack)?;
        }
        if !self.is_installed() {
            return Ok(false);
        }
        let mut armed = armed(&self.stack, roots, links);
        // nft takes a number as the *name* of an interface first.
        armed.retain(|index| {
            let name = index.to_string();
            !links.iter().any(|link| link.name == name && link.index != *index)
        });
        let protected: BTreeSet<String> =
            self.stack.keys().filter(|name| is_plain(name)).cloned().collect();
        let wanted = Sets { protected, armed };
        if !self.holds(&self.sets, links) {
            // nft may have resolved names that have changed since.
            self.tables = look().await?;
        }
        let changed = !self.holds(&self.sets, links);
        if wanted != self.sets || changed {
            nft::run(table::fill(&wanted, false)).await?;
            let known = wanted != self.sets;
            self.sets = wanted;
            self.tables = look().await?;
            return Ok(changed && !known);
        }
        Ok(false)
    }

    /// Whether the kernel's sets have these contents.
    fn holds(&self, sets: &Sets, links: &[Link]) -> bool {
        let armed = |table: &Table| -> BTreeSet<u32> {
            table.armed.iter().filter_map(|name| index(name, links)).collect()
        };
        self.tables
            .values()
            .all(|table| table.protected == sets.protected && armed(table) == sets.armed)
    }
}

/// What the tables do with traffic forwarded from an interface: `armed`, `shut`, or `absent` if no
/// table covers it.
pub fn state(tables: &Tables, name: &str, number: u32, links: &[Link]) -> &'static str {
    let looks = |table: &&Table| table.protected.contains(name);
    let is_armed =
        |table: &Table| table.armed.iter().any(|name| index(name, links) == Some(number));
    if !tables.values().any(|table| looks(&table)) {
        "absent"
    } else if tables.values().filter(looks).all(is_armed) {
        "armed"
    } else {
        "shut"
    }
}

/// The index for an element in nft's output: a name, or the number of an interface that does not
/// exist.
fn index(name: &str, links: &[Link]) -> Option<u32> {
    let link = links.iter().find(|link| link.name == name);
    link.map(|link| link.index).or_else(|| name.parse().ok())
}
