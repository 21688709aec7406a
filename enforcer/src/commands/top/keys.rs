//! What a key does.
#![expect(clippy::wildcard_enum_match_arm, reason = "a key that means nothing does nothing")]

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::popup::{Form, Popup};
use super::state::{State, Tab};
use crate::cli;

/// What `top` has to do because of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing but drawing.
    Draw,
    Quit,
    /// Request this rule from the daemon, for this many seconds.
    Allow(Form, i64),
}

/// Lines of a page.
const PAGE: isize = 10;

/// Changes the state, and returns what else is to be done.
pub(super) fn press(state: &mut State, key: KeyEvent) -> Action {
    if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
        return Action::Quit;
    }
    match std::mem::take(&mut state.popup) {
        Popup::None => return list(state, key.code),
        Popup::Help | Popup::Notice(_) => {}
        Popup::Filter => filter(state, key.code),
        Popup::Allow(form) => return allow(state, form, key.code),
    }
    Action::Draw
}

fn list(state: &mut State, key: KeyCode) -> Action {
    match key {
        KeyCode::Char('q') => return Action::Quit,
        KeyCode::Down | KeyCode::Char('j') => state.step(1),
        KeyCode::Up | KeyCode::Char('k') => state.step(-1),
        KeyCode::PageDown => state.step(PAGE),
        KeyCode::PageUp => state.step(-PAGE),
        KeyCode::Home | KeyCode::Char('g') => state.step(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => state.step(isize::MAX),
        KeyCode::Char('s') => state.sort = state.sort.next(),
        KeyCode::Char('p') | KeyCode::Char(' ') => state.paused = !state.paused,
        KeyCode::Char('/') => state.popup = Popup::Filter,
        KeyCode::Char('?') | KeyCode::Char('h') => state.popup = Popup::Help,
        KeyCode::Char('a') => state.popup = state.allow_selected(),
        KeyCode::Char('1') => open(state, Tab::Devices),
        KeyCode::Char('2') => open(state, Tab::Rules),
        KeyCode::Char('3') => open(state, Tab::Reasons),
        KeyCode::Tab => open(
            state,
            match state.tab {
                Tab::Devices => Tab::Rules,
                Tab::Rules => Tab::Reasons,
                Tab::Reasons => Tab::Devices,
            },
        ),
        KeyCode::Enter if state.tab == Tab::Devices && state.detail.is_none() => {
            state.detail = state.keys().into_iter().nth(state.position());
            state.cursor = None;
        }
        KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => match state.detail.take() {
            Some(device) => state.cursor = Some(device),
            None => state.filter.clear(),
        },
        _ => {}
    }
    Action::Draw
}

fn open(state: &mut State, tab: Tab) {
    (state.tab, state.detail, state.cursor) = (tab, None, None);
}

fn filter(state: &mut State, key: KeyCode) {
    match key {
        KeyCode::Enter => return,
        KeyCode::Esc => return state.filter.clear(),
        _ => edit(&mut state.filter, key),
    }
    state.popup = Popup::Filter;
}

/// Edits a text.
fn edit(text: &mut String, key: KeyCode) {
    match key {
        KeyCode::Char(c) if text.chars().count() < 64 => text.push(c),
        KeyCode::Backspace => drop(text.pop()),
        _ => {}
    }
}

fn allow(state: &mut State, mut form: Form, key: KeyCode) -> Action {
    let time = cli::seconds(&form.time);
    match (form.ready, key) {
        (_, KeyCode::Esc) => return Action::Draw,
        (true, KeyCode::Char('y')) => {
            if let Ok(seconds) = time {
                state.popup = Popup::Notice("asking the daemon …".into());
                return Action::Allow(form, seconds);
            }
        }
        // Anything but a plain yes is a no.
        (true, _) => return Action::Draw,
        (false, KeyCode::Tab | KeyCode::Up | KeyCode::Down) => form.at_time = !form.at_time,
        (false, KeyCode::Enter) => {
            form.problem = match time {
                _ if form.reason.trim().is_empty() => "write the reason first".into(),
                Err(e) => e,
                Ok(_) => String::new(),
            };
            form.ready = form.problem.is_empty();
        }
        (false, key) => {
            form.problem.clear();
            edit(if form.at_time { &mut form.time } else { &mut form.reason }, key);
        }
    }
    state.popup = Popup::Allow(form);
    Action::Draw
}
