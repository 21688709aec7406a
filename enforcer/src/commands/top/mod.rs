//! `enforcer top`: devices, destinations and drops on a live screen.
//!
//! - `state`: what it knows and shows; pure
//! - `keys`: what a key does
//! - `popup`: dialogs in front of the list
//! - `view`: a screen from a state
//!
//! It uses only the daemon's socket, and keeps asking while there is no answer.

mod keys;
mod popup;
mod state;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use crate::commands::Result;
use anyhow::Context;
use crossterm::event::{Event as Input, EventStream, KeyEventKind};
use enforcer::api::Exit;
use enforcer::api::{Endpoint, LiveAction, LiveChange, LiveReport, LiveRequest};
use enforcer::control::client::{self, Client};
use enforcer::convert;
use enforcer::events::Event;
use enforcer::events::filter::Filter;
use enforcer::fault::Fault;
use futures_util::StreamExt as _;
use ratatui::DefaultTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;

use self::keys::{Action, press};
use self::popup::{Form, Popup};
use self::state::{Snapshot, State};
use self::view::{Palette, draw};
use super::{colour, session};

/// Interval of queries to the daemon, and of retries.
const EVERY: Duration = Duration::from_secs(1);
/// Most answers that may wait for the screen.
const QUEUE: usize = 64;

/// What comes from the daemon.
enum News {
    Snapshot(Box<Snapshot>),
    Events(Vec<Event>),
    /// The daemon does not answer, and why.
    Trouble(String),
    /// The result of an order.
    Done(String),
}

pub(super) fn run(client: &Client) -> Result<Exit> {
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        let text = "`top` needs a terminal; `enforcer tail` and `enforcer devices` do not";
        return Err(anyhow::anyhow!(text).into());
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().context("cannot start")?;
    // From here on a panic restores the terminal too.
    let mut terminal = ratatui::try_init().context("cannot prepare the terminal")?;
    let ended = runtime.block_on(show(&mut terminal, client));
    ratatui::try_restore().context("cannot put the terminal back")?;
    ended.map(|()| Exit::Fine)
}

async fn show(terminal: &mut DefaultTerminal, client: &Client) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot catch signals")?;
    let (sender, mut news) = mpsc::channel(QUEUE);
    tokio::spawn(ask(client.clone(), sender.clone()));
    tokio::spawn(follow(client.clone(), sender.clone()));
    let palette = Palette { colour: colour(true) };
    let (begun, mut state, mut input) = (Instant::now(), State::default(), EventStream::new());
    loop {
        terminal.draw(|frame| draw(frame, &state, palette))?;
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            Some(news) = news.recv() => match news {
                News::Snapshot(snapshot) => state.update(begun.elapsed(), *snapshot),
                News::Events(events) => events.iter().for_each(|event| state.note(event)),
                News::Trouble(why) => state.lose(why),
                News::Done(text) => state.popup = Popup::Notice(text),
            },
            event = input.next() => match event {
                Some(Ok(Input::Key(key))) if key.kind != KeyEventKind::Release => {
                    match press(&mut state, key) {
                        Action::Draw => {}
                        Action::Quit => return Ok(()),
                        Action::Allow(form, seconds) => {
                            tokio::spawn(allow(client.clone(), form, seconds, sender.clone()));
                        }
                    }
                }
                // For example a new size: the next drawing fits it.
                Some(Ok(_)) => {}
                Some(Err(e)) => Err(e).context("cannot read keys")?,
                None => return Ok(()),
            },
        }
    }
}

/// Asks for everything once a second.
async fn ask(client: Client, news: mpsc::Sender<News>) {
    loop {
        let answer = snapshot(&client).await;
        let answer = answer.map_or_else(
            |e| News::Trouble(e.to_string()),
            |snapshot| News::Snapshot(Box::new(snapshot)),
        );
        if news.send(answer).await.is_err() {
            return;
        }
        sleep(EVERY).await;
    }
}

async fn snapshot(client: &Client) -> Result<Snapshot, client::Error> {
    let status = client.status().await?;
    Ok(Snapshot { status, devices: client.devices().await?, rules: client.rules().await? })
}

/// Follows the events, and reconnects when the daemon restarts.
async fn follow(client: Client, news: mpsc::Sender<News>) {
    loop {
        if let Ok(mut events) = client.events(&Filter::default()).await {
            while let Ok(Some(lines)) = events.next().await {
                let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                let events = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
                if news.send(News::Events(events)).await.is_err() {
                    return;
                }
            }
        }
        sleep(EVERY).await;
    }
}

/// Makes the rule, and reports the result.
async fn allow(client: Client, form: Form, seconds: i64, news: mpsc::Sender<News>) {
    let Form { target, to, service, reason, .. } = form;
    let change = LiveChange {
        reason: Some(reason.trim().to_owned()),
        lasts: u64::try_from(seconds).ok(),
        ..LiveChange::new(target, LiveAction::Allow(Endpoint { to, service }))
    };
    let request = LiveRequest { change, guard: session::guard(false) };
    let text = match client.change(&request).await {
        Ok(report) => done(&report),
        Err(e) => {
            let hint = e.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            format!("refused: {e}{hint}")
        }
    };
    // The screen may be closed.
    let _ = news.send(News::Done(text)).await;
}

fn done(report: &LiveReport) -> String {
    let LiveReport { change, notes, .. } = report;
    let mut text = format!(
        "in force: {}\ntake it back: enforcer revoke {}",
        convert::words(change),
        change.id
    );
    for note in notes {
        text.push_str(&format!("\nnote: {note}"));
    }
    text
}
