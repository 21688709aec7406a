//! What `top` draws: a screen from a state.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState, Wrap};

use super::super::text::{bytes, clean, number};
use super::popup::{Form, Popup};
use super::state::{Series, State, Tab};

const HELP: &str = "\
up, down, j, k   select a line          PgUp, PgDn, g, G   far
enter            a device's detail      esc                back
1 2 3, tab       devices, rules, reasons
s                sort: drops, rate, bytes, name
/                filter by any text; enter keeps it, esc clears it
p, space         pause                  q, Ctrl-C          leave
a                allow the selected destination for a while:
                 asks for a reason, and for a yes

DROPS are frames that the daemon heard of, /S their growth a second,
BYTES what this screen has seen in events since it was opened.";

/// Sixteen colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    pub(super) colour: bool,
}

impl Palette {
    fn paint(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// Style for what must stand out in every palette.
    fn loud(self, colour: Color) -> Style {
        self.paint(colour).add_modifier(Modifier::BOLD)
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, palette: Palette) {
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [head, sums, tabs, body, keys] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(heading(state, palette), head);
    totals(frame, state, palette, sums);
    frame.render_widget(tab_line(state, palette), tabs);
    match (&state.detail, state.tab) {
        (Some(_), _) => detail(frame, state, palette, body),
        (None, Tab::Devices) => devices(frame, state, palette, body),
        (None, Tab::Rules) => rules(frame, state, palette, body),
        (None, Tab::Reasons) => reasons(frame, state, palette, body),
    }
    frame.render_widget(bottom(state, palette), keys);
    match &state.popup {
        Popup::None | Popup::Filter => {}
        Popup::Help => popup(frame, palette, "keys", HELP, 76),
        Popup::Notice(text) => {
            popup(frame, palette, "", &format!("{}\n\nany key", clean(text)), 70)
        }
        Popup::Allow(form) => popup(frame, palette, "allow", &form_text(form), 70),
    }
}

fn heading<'a>(state: &State, palette: Palette) -> Line<'a> {
    let mut parts = vec![Span::styled("enforcer top  ", Style::new().add_modifier(Modifier::BOLD))];
    if let Some(trouble) = &state.trouble {
        let text = format!("NO ANSWER  {}", clean(trouble));
        parts.push(Span::styled(text, palette.loud(Color::Red)));
        return Line::from(parts);
    }
    let Some(status) = &state.status else {
        parts.push("asking the daemon …".into());
        return Line::from(parts);
    };
    let (word, colour) = match status.enforcing {
        true => ("enforcing", Color::Green),
        false => ("NOT ENFORCING", Color::Red),
    };
    parts.push(Span::styled(word, palette.loud(colour)));
    let interfaces = status.interfaces.iter().map(|interface| {
        let mark = if interface.enforcing { "" } else { "!" };
        format!("{}{mark}", clean(&interface.name))
    });
    let interfaces = interfaces.collect::<Vec<_>>().join(" ");
    let revision = status.policy.revision;
    parts.push(format!("  revision {revision}  {interfaces}  {} live", status.live.len()).into());
    if state.paused {
        parts.push(Span::styled("  PAUSED", palette.loud(Color::Yellow)));
    }
    Line::from(parts)
}

fn totals(frame: &mut Frame<'_>, state: &State, palette: Palette, area: Rect) {
    let [text, line] =
        Layout::horizontal([Constraint::Min(40), Constraint::Length(20)]).areas(area);
    let rate = |series: &Series| format!("{:.1}/s", series.rate);
    let mut words = format!("dropped {}  passed {}", rate(&state.dropped), rate(&state.passed));
    if state.lost > 0 {
        words.push_str(&format!("  {} events lost", number(state.lost)));
    }
    frame.render_widget(Line::from(words), text);
    let history: Vec<u64> = state.dropped.history.iter().copied().collect();
    let history = &history[history.len().saturating_sub(line.width.into())..];
    frame.render_widget(Sparkline::default().data(history).style(palette.paint(Color::Red)), line);
}

fn tab_line<'a>(state: &State, palette: Palette) -> Line<'a> {
    let tab = |tab: Tab, text: &'static str| {
        let chosen = state.tab == tab;
        let style =
            if chosen { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Span::styled(text, style)
    };
    let mut parts = vec![
        tab(Tab::Devices, " 1 devices "),
        tab(Tab::Rules, " 2 rules "),
        tab(Tab::Reasons, " 3 reasons "),
        Span::raw(format!("  sort: {}", state.sort.name())),
    ];
    if state.popup == Popup::Filter || !state.filter.is_empty() {
        let mark = if state.popup == Popup::Filter { "_" } else { "" };
        let text = format!("  filter: {}{mark}", clean(&state.filter));
        parts.push(Span::styled(text, palette.loud(Color::Cyan)));
    }
    Line::from(parts)
}

fn bottom<'a>(state: &State, palette: Palette) -> Line<'a> {
    let keys = match (&state.popup, state.detail.is_some()) {
        (Popup::Filter, _) => "enter keep  esc clear",
        (_, true) => "↑↓ select  a allow  s sort  p pause  esc back  ? help  q quit",
        (_, false) if state.tab != Tab::Devices => {
            "↑↓ select  s sort  / filter  p pause  tab next  ? help  q quit"
        }
        (_, false) => "↑↓ select  enter detail  a allow  s sort  / filter  p pause  ? help  q quit",
    };
    Line::styled(keys, palette.paint(Color::Cyan))
}

/// The last samples as bars, one in each column.
fn bars(series: &Series, width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let history = &series.history;
    let last: Vec<u64> =
        history.iter().copied().skip(history.len().saturating_sub(width)).collect();
    let most = last.iter().copied().max().unwrap_or(0).max(1);
    let bar = |value: &u64| match value {
        0 => ' ',
        value => BARS[usize::try_from(value * 7 / most).unwrap_or(0).min(7)],
    };
    let bars: String = last.iter().map(bar).collect();
    format!("{bars:>width$}")
}

/// A table with a head and a selected line.
fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    head: &[&'static str],
    widths: &[u16],
    rows: Vec<Row<'_>>,
    selected: usize,
) {
    if rows.is_empty() {
        frame.render_widget(Paragraph::new("\n  nothing yet"), area);
        return;
    }
    // The last column takes the rest.
    let mut widths: Vec<Constraint> = widths.iter().map(|w| Constraint::Length(*w)).collect();
    widths.push(Constraint::Min(10));
    let head = Row::new(head.iter().copied()).style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(rows, widths).header(head).column_spacing(1);
    let table = table.row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
}

/// At most nine columns: `1023.9KiB`.
fn size(n: u64) -> String {
    bytes(n).replace(' ', "")
}

fn right<'a>(text: String) -> Cell<'a> {
    Cell::from(Line::from(text).alignment(Alignment::Right))
}

fn devices(frame: &mut Frame<'_>, state: &State, palette: Palette, area: Rect) {
    let rows = state.listed().into_iter().map(|(key, device)| {
        let row = &device.row;
        let observed = row.mode == "observe";
        let style = match (device.drops.rate > 0.0, observed) {
            (false, _) => Style::new(),
            (true, true) => palette.paint(Color::Yellow),
            (true, false) => palette.paint(Color::Red),
        };
        Row::new([
            Cell::from(clean(device.name())),
            Cell::from(clean(&row.group)),
            right(number(device.refused())),
            right(format!("{:.1}", device.drops.rate)),
            right(size(state.bytes(key))),
            Cell::from(bars(&device.drops, 6)).style(style),
            Cell::from(clean(row.last_destination.as_deref().unwrap_or("-"))),
        ])
    });
    let head = ["DEVICE", "GROUP", "  DROPS", "   /S", "    BYTES", "TREND", "LAST DESTINATION"];
    let rows = rows.collect();
    table(frame, area, &head, &[17, 9, 7, 5, 9, 6], rows, state.position());
}

fn detail(frame: &mut Frame<'_>, state: &State, palette: Palette, area: Rect) {
    let device = state.detail.as_ref().and_then(|key| state.devices.get(key));
    let [top, trend, list] =
        Layout::vertical([Constraint::Length(3), Constraint::Length(3), Constraint::Min(3)])
            .areas(area);
    if let Some(device) = device {
        let row = &device.row;
        let or = |text: &Option<String>| clean(text.as_deref().unwrap_or("-"));
        let text = format!(
            "{}  {}  {}\ngroup {} ({})  dropped {}  would drop {}\nlast seen {}",
            clean(device.name()),
            or(&row.mac),
            or(&row.ip),
            clean(&row.group),
            clean(&row.mode),
            number(row.dropped),
            number(row.would_drop),
            row.last_seen.as_deref().map_or_else(|| "-".into(), super::super::text::time),
        );
        frame.render_widget(Paragraph::new(text), top);
        let history: Vec<u64> = device.drops.history.iter().copied().collect();
        let title = format!("a second: {:.1}", device.drops.rate);
        let block = Block::new().title(title);
        let line =
            Sparkline::default().data(&history).block(block).style(palette.paint(Color::Red));
        frame.render_widget(line, trend);
    }
    let rows = state.tried().into_iter().map(|to| {
        let style = palette.paint(if to.observed { Color::Yellow } else { Color::Red });
        Row::new([
            Cell::from(clean(&to.text)),
            right(number(to.frames)),
            right(size(to.bytes)),
            Cell::from(clean(&to.why)).style(style),
        ])
    });
    let head = ["DESTINATION", "  DROPS", "    BYTES", "WHY"];
    table(frame, list, &head, &[28, 7, 9], rows.collect(), state.position());
}

fn rules(frame: &mut Frame<'_>, state: &State, palette: Palette, area: Rect) {
    let rows = state.listed_rules().into_iter().map(|(row, series)| {
        let colour = if row.action == "deny" { Color::Red } else { Color::Green };
        let why = row.reason.as_deref().unwrap_or("");
        let end = if row.action == "accept" { "from" } else { "to" };
        Row::new([
            Cell::from(clean(&row.group)),
            Cell::from(clean(&row.action)).style(palette.paint(colour)),
            right(number(row.frames)),
            right(format!("{:.1}", series.rate)),
            Cell::from(bars(series, 8)),
            Cell::from(clean(&format!("{} {end} {} {why}", row.service, row.to))),
        ])
    });
    let head = ["GROUP", "RULE", "   FRAMES", "    /S", "TREND", "WHAT"];
    table(frame, area, &head, &[12, 6, 9, 7, 8], rows.collect(), state.position());
}

fn reasons(frame: &mut Frame<'_>, state: &State, palette: Palette, area: Rect) {
    let none = Series::default();
    let reasons = state.status.iter().flat_map(|status| &status.reasons);
    let rows = reasons.map(|reason| {
        let series = state.reasons.get(&reason.reason).unwrap_or(&none);
        let colour = if reason.verdict == "drop" { Color::Red } else { Color::Green };
        Row::new([
            Cell::from(reason.verdict.clone()).style(palette.paint(colour)),
            Cell::from(reason.reason.clone()),
            right(number(reason.frames)),
            right(format!("{:.1}", series.rate)),
            Cell::from(bars(series, 8)),
            Cell::from(clean(&reason.text)),
        ])
    });
    let head = ["IS", "REASON", "   FRAMES", "    /S", "TREND", "IN WORDS"];
    table(frame, area, &head, &[5, 20, 9, 7, 8], rows.collect(), state.position());
}

fn form_text(form: &Form) -> String {
    let Form { target, to, service, reason, time, at_time, ready, problem } = form;
    let (target, to) = (clean(target), clean(to));
    let (reason, time) = (clean(reason), clean(time));
    if *ready {
        return format!(
            "allow {target} to reach {to}, {service}, for {time}\nreason: {reason}\n\n\
             It is in force at once. Press y to do it, any other key not to."
        );
    }
    let (here, there) = if *at_time { ("", "_") } else { ("_", "") };
    format!(
        "allow {target} to reach {to}, {service}\n\nreason  {reason}{here}\nfor     {time}{there}\n\n\
         tab other field   enter go on   esc leave it\n{problem}"
    )
}

fn popup(frame: &mut Frame<'_>, palette: Palette, title: &'static str, text: &str, width: u16) {
    let area = frame.area();
    let width = width.min(area.width);
    let inner = usize::from(width.saturating_sub(2)).max(1);
    let lines = text.lines().map(|line| line.chars().count().div_ceil(inner).max(1)).sum::<usize>();
    let height = u16::try_from(lines + 2).unwrap_or(u16::MAX).min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(title).border_style(palette.paint(Color::Cyan));
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(block), place);
}
