//! `enforcer man`: the pages of the commands and of the two files. The latter are made from the
//! settings file and the policy reference, so that they cannot become outdated.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use enforcer::api::Exit;
use enforcer::setup::documents::SETTINGS;

use super::{Result, print};
use crate::cli;

const POLICY: &str = include_str!("../../../docs/policy.md");

pub(super) fn run(directory: Option<&Path>) -> Result<Exit> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        cli::man(&mut page)?;
        print(&String::from_utf8_lossy(&page))?;
        return Ok(Exit::Fine);
    };
    let step = || format!("cannot write to {}", directory.display());
    std::fs::create_dir_all(directory).with_context(step)?;
    cli::man_pages(directory).with_context(step)?;
    for (name, page) in [("enforcer.toml.5", settings()), ("enforcer-policy.5", policy())] {
        std::fs::write(directory.join(name), page).with_context(step)?;
    }
    Ok(Exit::Fine)
}

fn head(name: &str, what: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        ".TH {name} 5 \"\" \"enforcer {version}\"\n.SH NAME\n{} \\- {what}\n.SH DESCRIPTION\n",
        escape(name)
    )
}

/// enforcer.toml(5): the settings of the shipped file, each with its comment.
fn settings() -> String {
    let mut page = head("enforcer.toml", "settings of the daemon of enforcer(1)");
    page.push_str(
        "A TOML document, \\fB/etc/enforcer/enforcer.toml\\fR unless told otherwise, of which every line \
         is optional.\n\\fBenforcer init\\fR writes a first one, \\fBenforcer config check\\fR says \
         what is wrong in one.\nUnknown keys are errors. The settings, with their defaults:\n",
    );
    for paragraph in SETTINGS.split("\n\n") {
        let (prose, settings): (Vec<&str>, Vec<&str>) =
            paragraph.lines().partition(|line| line.starts_with("# ") || *line == "#");
        let Some(first) = settings.first() else { continue };
        for (number, setting) in settings.iter().enumerate() {
            let tag = if number == 0 { ".TP" } else { ".TQ" };
            let setting = escape(setting.trim_start_matches('#')).replace('"', "\\(dq");
            let _ = writeln!(page, "{tag}\n.B {setting}");
        }
        let words: Vec<&str> =
            prose.iter().map(|line| line.trim_start_matches(['#', ' '])).collect();
        let _ = writeln!(page, "{}", inline(&words.join("\n")));
        if first.starts_with("##") {
            page.push_str("This is an example: without it, there is none.\n");
        }
    }
    page.push_str(
        ".SH SEE ALSO\nenforcer(1), enforcer\\-config\\-check(1), enforcer\\-policy(5)\n",
    );
    page
}

/// enforcer-policy(5): the reference.
fn policy() -> String {
    let mut page =
        head("enforcer-policy", "what devices may reach: the policy file of enforcer(1)");
    let (_, text) = POLICY.split_once('\n').unwrap_or_default();
    page.push_str(&from_markdown(text));
    page.push_str(
        ".SH SEE ALSO\nenforcer(1), enforcer\\-check(1), enforcer\\-apply(1), enforcer.toml(5)\n",
    );
    page
}

/// Converts the Markdown that the reference uses: headings, paragraphs, lists, tables, code.
fn from_markdown(text: &str) -> String {
    let mut page = String::new();
    let mut code = false;
    let mut rows = 0;
    for line in text.lines() {
        if line.starts_with("```") {
            code = !code;
            page.push_str(if code { ".PP\n.RS 4\n.nf\n" } else { ".fi\n.RE\n" });
            continue;
        }
        if code {
            let _ = writeln!(page, "{}", escape(line));
            continue;
        }
        rows = if line.starts_with('|') { rows + 1 } else { 0 };
        if let Some(heading) = line.strip_prefix("### ") {
            let _ = writeln!(page, ".SS {}", inline(heading));
        } else if let Some(heading) = line.strip_prefix("## ") {
            let _ = writeln!(page, ".SH {}", inline(heading).to_uppercase());
        } else if line.starts_with('|') {
            // The first row has the names of the columns, the second is the rule below them.
            if rows > 2 {
                let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
                let first = cells.next().unwrap_or_default();
                let rest: Vec<&str> = cells.collect();
                let _ = writeln!(page, ".TP\n{}\n{}", inline(first), inline(&rest.join("; ")));
            }
        } else if let Some(item) = line.strip_prefix("- ") {
            let _ = writeln!(page, ".IP \\(bu 3\n{}", inline(item));
        } else if let Some((number, item)) = line.split_once(". ")
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && !number.is_empty()
        {
            let _ = writeln!(page, ".IP {number}. 3\n{}", inline(item));
        } else if line.is_empty() {
            page.push_str(".PP\n");
        } else {
            let _ = writeln!(page, "{}", inline(line.trim_start()));
        }
    }
    page
}

/// Converts code and emphasis inside a line; of a link, keeps the text.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (number, part) in without_links(text).split('`').enumerate() {
        if number % 2 == 1 {
            let _ = write!(out, "\\fB{}\\fR", plain(part));
        } else {
            out.push_str(&prose(part));
        }
    }
    if out.starts_with(['.', '\'']) { format!("\\&{out}") } else { out }
}

fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("](") {
        let Some((_, after)) = link.split_once(')') else { break };
        out.push_str(before);
        // Find the matching opening bracket; the text may contain brackets itself.
        let mut closed = 0_usize;
        let opened = out.char_indices().rev().find(|(_, c)| match c {
            ']' => {
                closed += 1;
                false
            }
            '[' if closed == 0 => true,
            '[' => {
                closed -= 1;
                false
            }
            _ => false,
        });
        if let Some((at, _)) = opened {
            out.remove(at);
        }
        rest = after;
    }
    out + rest
}

fn prose(text: &str) -> String {
    let bold = text.split("**").enumerate().map(|(number, part)| {
        let part = plain(part).replace("*", "");
        if number % 2 == 1 { format!("\\fB{part}\\fR") } else { part }
    });
    bold.collect()
}

/// Escapes a line that roff would otherwise interpret.
fn escape(text: &str) -> String {
    let text = plain(text);
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn plain(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_roff() {
        let text = "A `mac` is **it**, see [there](#x) or [`[x]`](#x).\n\n## Keys\n\n| key | type | meaning |\n\
                    |---|---|---|\n| `mac` | string | its-own |\n\n- one\n1. two\n\n\
                    ```toml\n.x = \"\\\\\"\n```\n";
        let expected = "A \\fBmac\\fR is \\fBit\\fR, see there or \\fB[x]\\fR.\n.PP\n.SH KEYS\n.PP\n.TP\n\
                        \\fBmac\\fR\nstring; its\\-own\n.PP\n.IP \\(bu 3\none\n.IP 1. 3\ntwo\n.PP\n\
                        .PP\n.RS 4\n.nf\n\\&.x = \"\\e\\e\"\n.fi\n.RE\n";
        assert_eq!(from_markdown(text), expected);
    }

    #[test]
    fn the_pages_of_the_files_have_every_setting_and_every_table() {
        let page = settings();
        for setting in ["interfaces = []", "max_bytes = 16777216", "[sinks.syslog]"] {
            assert!(page.contains(&format!(".B {setting}\n")), "{page}");
        }
        assert!(page.matches("This is an example").count() == 7, "{page}");
        let page = policy();
        for line in [".SS \\fB[devices.NAME]\\fR\n", ".SH PROBLEMS\n", "\\fBeapol\\fR\n"] {
            assert!(page.contains(line), "{line}: {page}");
        }
    }
}
