//! `enforcer init`: a first configuration that only observes. Needs no daemon; never overwrites.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use enforcer::api::Exit;
use enforcer::config;
use enforcer::fault::Fault;
use enforcer::host::Kernel;
use enforcer::host::survey::Interface;
use enforcer::policy::{self, Mac, report};
use enforcer::setup::{Machine, Role, documents};

use super::names::Names;
use super::text::{count, head, table};
use super::{Result, block_on, print};
use crate::cli;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{} already exists, and nothing was changed", .0.display())]
    Exists(PathBuf),
    #[error("this machine has no interface `{0}`")]
    Unknown(String),
    #[error("`{name}` is on top of {}, where frames arrive", below.join(", "))]
    Above { name: String, below: Vec<String> },
    #[error("no Ethernet frames arrive on `{0}`")]
    NoEthernet(String),
    #[error("cannot tell which interfaces devices are behind")]
    CannotTell,
    #[error("there is no terminal to ask on")]
    NoTerminal,
    #[error("no answer, and nothing was written")]
    NoAnswer,
}

impl Fault for Error {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Exists(_) => {
                "`enforcer init --dry-run` prints what it would write; `--directory DIR` writes it \
                 elsewhere"
            }
            Self::Unknown(_) | Self::NoEthernet(_) => {
                "`ip -brief link` lists the interfaces of this machine"
            }
            Self::Above { below, .. } if below.is_empty() => "it has no ports yet",
            Self::Above { below, .. } => {
                let flags: Vec<String> =
                    below.iter().map(|name| format!("--interface {name}")).collect();
                return Some(format!("name the interfaces below it: {}", flags.join(" ")));
            }
            Self::CannotTell => {
                "name them, such as `--interface lan0`: there is no default route, or nothing but \
                 what it leaves by is in use"
            }
            Self::NoTerminal => {
                "`--yes` accepts the proposal, `--interface IF` names the interfaces"
            }
            Self::NoAnswer => return None,
        };
        Some(hint.to_owned())
    }
}

pub(super) fn run(args: &cli::Init) -> Result<Exit> {
    // The daemon starts in a different directory.
    let directory = std::path::absolute(&args.directory).context("cannot tell the directory")?;
    let [settings_file, policy_file] =
        ["enforcer.toml", "policy.toml"].map(|name| directory.join(name));
    if !args.dry_run {
        for file in [&settings_file, &policy_file] {
            if file.symlink_metadata().is_ok() && !is_untouched(file) {
                return Err(Error::Exists(file.clone()).into());
            }
        }
    }
    let survey = block_on(async { Ok(Kernel::open()?.survey().await?) })?;
    let machine = Machine::new(&survey);
    let asks = args.interface.is_empty() && !args.yes && !args.dry_run;
    if asks && !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Error::NoTerminal.into());
    }
    eprint!("{}", described(&machine));
    let chosen = match args.interface.as_slice() {
        [] if asks => ask_for_interfaces(&machine)?,
        [] => suitable(&machine, &machine.proposed())?,
        names => suitable(&machine, names)?,
    };
    let mut names = Names::of_this_machine();
    let mut maker = |mac: Mac| names.maker(&mac.to_string()).map(str::to_owned);
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let interfaces: Vec<&str> = chosen.iter().map(|chosen| chosen.link.name.as_str()).collect();
    let file = policy_file.display().to_string();
    let settings = documents::settings(&interfaces, &file);
    let policy = documents::policy(&machine, &chosen, &file, &today, &mut maker);
    check(&settings, &policy)?;
    if args.dry_run {
        print(&format!("# {}\n{settings}\n# {file}\n{policy}", settings_file.display()))?;
        return Ok(Exit::Fine);
    }
    let question = format!("Write {} and {file}? [Y/n] ", settings_file.display());
    if asks && !matches!(answer(&question)?.to_lowercase().as_str(), "" | "y" | "yes") {
        eprintln!("nothing was written");
        return Ok(Exit::Fine);
    }
    write(&policy_file, &policy)?;
    if let Err(error) = write(&settings_file, &settings) {
        // A leftover file would block the next attempt. It was created just now.
        let _ = fs::remove_file(&policy_file);
        return Err(error);
    }
    let usual = settings_file == Path::new(config::FILE);
    let config =
        if usual { String::new() } else { format!(" --config {}", settings_file.display()) };
    print(&format!(
        "wrote {}\nwrote {file}\nprotects {}; every group observes, so nothing is dropped\n\
         next: `enforcer run{config}` or its service, then `enforcer tail`\n",
        settings_file.display(),
        interfaces.join(", ")
    ))?;
    Ok(Exit::Fine)
}

/// Whether it is the packages' settings file without changes by the operator.
fn is_untouched(file: &Path) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text == documents::SETTINGS)
}

/// Describes the machine on the terminal; standard output has only the documents.
fn described(machine: &Machine<'_>) -> String {
    let mut rows = vec![head(&["INTERFACE", "ADDRESSES", "VLANS", "SEEN", "WHAT IT IS"])];
    for (interface, role) in machine.roles() {
        let index = interface.link.index;
        let list = |words: Vec<String>| if words.is_empty() { "-".into() } else { words.join(",") };
        let vlans = machine.vlans(index).iter().map(u16::to_string).collect();
        let addresses = interface.addresses.iter().map(|(ip, length)| (*ip, Some(*length)));
        let seen = machine.devices(&[index]).len();
        let what = match &role {
            Role::Devices => "devices are behind it".to_owned(),
            Role::Uplink => "the default route leaves by it".to_owned(),
            Role::Above(below) => format!("on top of {}", below.join(", ")),
            Role::Idle => "nothing uses it".to_owned(),
            Role::Guest => "a container or virtual machine".to_owned(),
            Role::NoEthernet => "no Ethernet".to_owned(),
        };
        let name = interface.link.name.clone();
        let vlans: Vec<String> = if matches!(role, Role::Above(_)) { Vec::new() } else { vlans };
        let seen = if seen == 0 { "-".to_owned() } else { seen.to_string() };
        let addresses = list(
            vec![documents::addresses(addresses)].into_iter().filter(|a| !a.is_empty()).collect(),
        );
        rows.push(vec![name, addresses, list(vlans), seen, what]);
    }
    let width = terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| width.0.into());
    table(&rows, &[3], &[1, 4], width)
}

fn ask_for_interfaces<'s>(machine: &Machine<'s>) -> Result<Vec<&'s Interface>> {
    let proposed = machine.proposed();
    let default =
        if proposed.is_empty() { String::new() } else { format!(" [{}]", proposed.join(" ")) };
    loop {
        let answer = answer(&format!("\nInterfaces that devices are behind{default}: "))?;
        let names: Vec<&str> = answer.split([' ', ',']).filter(|name| !name.is_empty()).collect();
        match suitable(machine, if names.is_empty() { &proposed } else { &names }) {
            Ok(chosen) => return Ok(chosen),
            Err(error) => eprintln!("error: {error}\nhint: {}", error.hint().unwrap_or_default()),
        }
    }
}

/// A line of the terminal.
fn answer(question: &str) -> Result<String> {
    let mut out = io::stderr().lock();
    out.write_all(question.as_bytes()).and_then(|()| out.flush()).context("cannot ask")?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line).context("cannot read the answer")?;
    if read == 0 {
        return Err(Error::NoAnswer.into());
    }
    Ok(line.trim().to_owned())
}

/// The interfaces with these names, if the program works on each.
fn suitable<'s>(
    machine: &Machine<'s>,
    names: &[impl AsRef<str>],
) -> Result<Vec<&'s Interface>, Error> {
    let mut chosen: Vec<&Interface> = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        let interface = machine.named(name).ok_or_else(|| Error::Unknown(name.to_owned()))?;
        match machine.role(interface) {
            Role::Above(below) => return Err(Error::Above { name: name.to_owned(), below }),
            Role::NoEthernet => return Err(Error::NoEthernet(name.to_owned())),
            Role::Devices | Role::Uplink | Role::Idle | Role::Guest => {}
        }
        if !chosen.iter().any(|other| other.link.index == interface.link.index) {
            chosen.push(interface);
        }
    }
    if chosen.is_empty() { Err(Error::CannotTell) } else { Ok(chosen) }
}

/// The files must be valid: better no file than one that the daemon refuses.
fn check(settings: &str, policy: &str) -> Result<()> {
    let (_, mut problems) = config::check("enforcer.toml", settings);
    let mut no_file = |_: &str| Err(io::ErrorKind::NotFound.into());
    problems.extend(policy::read("policy.toml", policy, &mut no_file).1);
    let refused = problems.iter().find(|_| report::has_errors(&problems));
    let count = count(problems.len(), "problem");
    refused.map_or(Ok(()), |first| {
        let (place, message) = (&first.place, &first.message);
        Err(anyhow::anyhow!("{count} in what would be written: {place}: {message}").into())
    })
}

/// Creates a new file, or replaces the packages' unmodified one.
fn write(file: &Path, text: &str) -> Result<()> {
    let step = || format!("cannot write {}", file.display());
    let directory = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).with_context(step)?;
    let replace = is_untouched(file);
    let target = if replace { file.with_extension("toml.init") } else { file.to_owned() };
    let made = OpenOptions::new().write(true).create_new(true).open(&target);
    let mut out = match made {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::Exists(target).into());
        }
        made => made.with_context(step)?,
    };
    let mut written = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
    if replace && written.is_ok() {
        written = fs::rename(&target, file);
    }
    if written.is_err() {
        // It was created just now.
        let _ = fs::remove_file(&target);
    }
    Ok(written.with_context(step)?)
}
