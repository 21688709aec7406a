//! `enforcer backstop`: the tables that block forwarding while an interface is not protected.

use enforcer::api::Exit;
use enforcer::backstop::table::{Family, Table};
use enforcer::backstop::{self, Tables};
use enforcer::config;
use enforcer::dataplane::pins::Pins;
use serde::Serialize;

use super::run::settings;
use super::text::{clean, number};
use super::{Result, block_on, print, print_json};
use crate::cli::{Backstop, Backstopped};

pub(super) fn run(command: &Backstop) -> Result<Exit> {
    match command {
        Backstop::Install(args) => install(args),
        Backstop::Remove(args) => remove(args),
        Backstop::Show(args) => show(args),
    }
}

fn install(args: &Backstopped) -> Result<Exit> {
    let settings = settings(args.config.as_deref())?;
    if settings.interfaces.is_empty() {
        return Err(config::Error::NoInterface.into());
    }
    // Only a running daemon knows what is armed.
    let keep = Pins::is_held(&settings.bpffs);
    let names = block_on(async {
        Ok(backstop::install(&settings.interfaces, &settings.state_dir, keep).await?)
    })?;
    if args.output.json {
        print_json(&look()?)?;
    } else {
        let state = if keep { "the daemon arms them" } else { "shut until the daemon arms them" };
        let names: Vec<String> = names.iter().map(|name| clean(name)).collect();
        print(&format!("installed for {}: {state}\n", names.join(", ")))?;
    }
    Ok(Exit::Fine)
}

fn remove(args: &Backstopped) -> Result<Exit> {
    let settings = settings(args.config.as_deref())?;
    let removed = block_on(async { Ok(backstop::remove(&settings.state_dir).await?) })?;
    if args.output.json {
        print_json(&[serde_json::json!({ "removed": removed })])?;
    } else if removed.is_empty() {
        print("nothing was installed\n")?;
    } else {
        print(&removed.iter().map(|what| format!("removed: {what}\n")).collect::<String>())?;
    }
    Ok(Exit::Fine)
}

fn show(args: &Backstopped) -> Result<Exit> {
    let rows = look()?;
    if args.output.json {
        print_json(&rows)?;
    } else if rows.is_empty() {
        print("not installed\n")?;
    } else {
        print(&rows.iter().map(render).collect::<String>())?;
    }
    Ok(if rows.len() == Family::ALL.len() { Exit::Fine } else { Exit::Problems })
}

/// One table, as the kernel has it. Field names are a contract.
#[derive(Serialize)]
struct Row {
    family: &'static str,
    protected: Vec<String>,
    armed: Vec<String>,
    dropped_frames: u64,
    dropped_bytes: u64,
}

fn look() -> Result<Vec<Row>> {
    let tables: Tables = block_on(async { Ok(backstop::look().await?) })?;
    let row = |(family, table): (Family, Table)| Row {
        family: family.name(),
        protected: table.protected.into_iter().collect(),
        armed: table.armed.into_iter().collect(),
        dropped_frames: table.frames,
        dropped_bytes: table.bytes,
    };
    Ok(tables.into_iter().map(row).collect())
}

fn render(row: &Row) -> String {
    let what = if row.family == "inet" { "routed" } else { "from a bridge's port" };
    let mut out = format!("{what}: {} frames dropped\n", number(row.dropped_frames));
    for name in &row.protected {
        let state = if row.armed.contains(name) { "armed" } else { "shut" };
        out.push_str(&format!("  {:<16} {state}\n", clean(name)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_open() {
        let row = Row {
            family: "inet",
            protected: vec!["lan0".into(), "lan1".into()],
            armed: vec!["7".into(), "lan1".into()],
            dropped_frames: 18_204,
            dropped_bytes: 0,
        };
        let expected =
            "routed: 18,204 frames dropped\n  lan0             shut\n  lan1             armed\n";
        assert_eq!(render(&row), expected);
    }
}
