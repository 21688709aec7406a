//! `enforcer history`: one line for each revision, oldest first.

use enforcer::api::Exit;
use enforcer::api::HistoryRow;
use enforcer::control::client::Client;

use super::text::{head, number, table, time};
use super::{Result, Screen, block_on, print, print_json};

pub(super) fn run(client: &Client, last: Option<usize>, json: bool) -> Result<Exit> {
    let mut rows = block_on(async { Ok(client.history().await?) })?;
    let rows = rows.split_off(last.map_or(0, |last| rows.len().saturating_sub(last)));
    if json {
        print_json(&rows)?;
    } else {
        print(&render(&rows, Screen::of_stdout().width))?;
    }
    Ok(Exit::Fine)
}

fn render(history: &[HistoryRow], width: Option<usize>) -> String {
    if history.is_empty() {
        return "no revision is kept\n".to_owned();
    }
    let mut rows = vec![head(&["REV", "", "SINCE", "WHO", "+", "-", "~", "WHY, FILE"])];
    for row in history {
        let mark = if row.in_force { "in force" } else { "" };
        let mut cells = vec![row.revision.to_string(), mark.to_owned()];
        if let Some(live) = &row.live {
            cells[0] = String::new();
            let why = [live].into_iter().chain(&row.why).cloned().collect::<Vec<_>>().join(", ");
            cells[1] = "live".to_owned();
            cells.extend([time(&row.since), row.who.clone()]);
            cells.extend(std::iter::repeat_n(String::new(), 3));
            cells.push(why);
        } else if let Some(damaged) = &row.damaged {
            cells.extend(std::iter::repeat_n("?".to_owned(), 5));
            cells.push(damaged.clone());
        } else {
            cells.extend([time(&row.since), row.who.clone()]);
            let counts = [row.added, row.removed, row.changed];
            cells.extend(counts.map(|count| number(count as u64)));
            let why = row.why.iter().chain([&row.file]).cloned();
            cells.push(why.collect::<Vec<_>>().join(", "));
        }
        rows.push(cells);
    }
    table(&rows, &[0, 4, 5, 6], &[7, 3], width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighty_columns() {
        let first = HistoryRow {
            revision: 6,
            since: "2026-11-23T12:03:04+01:00".into(),
            who: "root".into(),
            why: Some("CHG-4711".into()),
            file: "/etc/enforcer/policy.toml".into(),
            added: 12,
            ..HistoryRow::default()
        };
        let live = HistoryRow {
            revision: 6,
            since: "2026-11-23T12:04:04+01:00".into(),
            who: "root".into(),
            live: Some("mode beds: observe".into()),
            ..HistoryRow::default()
        };
        let damaged = HistoryRow {
            revision: 7,
            in_force: true,
            damaged: Some("revisions/7.json is damaged".into()),
            ..HistoryRow::default()
        };
        let expected = "\
REV            SINCE                WHO    +  -  ~  WHY, FILE
  6            2026-11-23 12:03:04  root  12  0  0  CHG-4711, /etc/enforcer/pol…
     live      2026-11-23 12:04:04  root            mode beds: observe
  7  in force  ?                    ?      ?  ?  ?  revisions/7.json is damaged
";
        assert_eq!(render(&[first, live, damaged], Some(80)), expected);
    }
}
