//! `enforcer tail`: events as they come, until Ctrl-C.
//!
//! - `render`: columns for people
//! - `suppressed`: drops that have no line of their own

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::commands::Result;
use anyhow::Context;
use enforcer::api::Exit;
use enforcer::control::client::Client;
use enforcer::events::pcap::Capture;
use enforcer::events::text::Words;
use enforcer::events::{Event, eve};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, interval};

use self::render::Renderer;
use self::suppressed::Suppressed;
use super::Screen;
use super::names::Names;
use crate::cli::Tail;

mod render;
mod suppressed;

/// Time for the last write after Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often a quiet tail checks that its output is still read.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn run(client: &Client, args: &Tail) -> Result<Exit> {
    // A separate thread waits for Ctrl-C: it has to end a tail that hangs in a write because its
    // terminal or pipe is full.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch Ctrl-C")?;
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        #[expect(
            clippy::disallowed_methods,
            reason = "a write that hangs cannot be asked to return"
        )]
        tokio::spawn(async move {
            interrupt.recv().await;
            stopped.notify_one();
            tokio::time::sleep(PATIENCE).await;
            std::process::exit(i32::from(Exit::Fine as u8));
        });
        follow(client, args, &stop).await
    })
}

async fn follow(client: &Client, args: &Tail, stop: &Notify) -> Result<Exit> {
    if args.format.pcap.as_deref() == Some(Path::new("-")) && io::stdout().is_terminal() {
        eprintln!("error: a capture is not for a terminal");
        eprintln!("hint: give a file, or pipe it: enforcer tail --pcap - | tshark -r -");
        return Ok(Exit::Usage);
    }
    let mut events = client.follow(&args.subscription()).await?;
    // The daemon provides the words; without them the reason's name is used.
    let words: Words = match client.status().await {
        Ok(status) if !args.format.json => {
            status.reasons.into_iter().map(|reason| (reason.reason, reason.text)).collect()
        }
        Ok(_) | Err(_) => Words::new(),
    };
    let mut output = Output::open(args, words)?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut look = interval(LOOK);
    loop {
        let lines = tokio::select! {
            biased;
            () = stop.notified() => break,
            lines = events.next() => lines?,
            _ = look.tick() => {
                if output.is_closed() {
                    break;
                }
                output.pause()?;
                continue;
            }
        };
        let Some(lines) = lines else {
            output.flush()?;
            eprintln!("the daemon has stopped");
            return Ok(Exit::NotRunning);
        };
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let event: Event =
                serde_json::from_slice(line).context("cannot read the daemon's event")?;
            // Lines about loss and tampering do not count.
            if output.write(&event, line)? && event.refusal().is_some() {
                left -= 1;
                if left == 0 {
                    output.flush()?;
                    return Ok(Exit::Fine);
                }
            }
        }
        output.flush()?;
    }
    output.flush()?;
    Ok(Exit::Fine)
}

type Out = Box<dyn Write>;

/// Where events go, and in what form.
struct Output {
    form: Form,
    /// The file of a capture that does not go to standard output.
    file: Option<OwnedFd>,
}

enum Form {
    Text { out: Out, renderer: Renderer, suppressed: Suppressed, next: Instant },
    Json(Out),
    Eve(Out, Words),
    Capture(Capture<Out>, Words),
}

impl Output {
    fn open(args: &Tail, words: Words) -> Result<Self> {
        let stdout = || -> Out { Box::new(BufWriter::new(io::stdout().lock())) };
        if let Some(path) = &args.format.pcap {
            let mut own = None;
            let out: Out = if path == Path::new("-") {
                stdout()
            } else {
                let failed = || format!("cannot write {}", path.display());
                let file = File::create(path).with_context(failed)?;
                own = Some(file.try_clone().with_context(failed)?.into());
                Box::new(BufWriter::new(file))
            };
            let mut capture = Capture::new(out)?;
            // Flush so that a live reader gets the header at once.
            capture.flush()?;
            return Ok(Self { form: Form::Capture(capture, words), file: own });
        }
        let form = if args.format.json {
            Form::Json(stdout())
        } else if args.format.eve {
            Form::Eve(stdout(), words)
        } else {
            let names = Names::of_this_machine();
            let renderer = Renderer { words, names, screen: Screen::of_stdout() };
            let next = Instant::now() + suppressed::PERIOD;
            Form::Text { out: stdout(), renderer, suppressed: Suppressed::default(), next }
        };
        Ok(Self { form, file: None })
    }

    /// Writes an event (`line` is the daemon's JSON); returns whether this output shows it.
    fn write(&mut self, event: &Event, line: &[u8]) -> Result<bool> {
        match &mut self.form {
            Form::Text { out, renderer, suppressed, .. } => {
                if !suppressed.take(event) {
                    writeln!(out, "{}", renderer.render(event))?;
                }
            }
            Form::Json(out) => out.write_all(line)?,
            Form::Eve(out, words) => {
                let Some(line) = eve::line(event, words) else { return Ok(false) };
                writeln!(out, "{line}")?;
            }
            Form::Capture(capture, words) => return Ok(capture.add(event, words)?),
        }
        Ok(true)
    }

    /// Periodic work.
    fn pause(&mut self) -> Result<()> {
        let Form::Text { out, renderer, suppressed, next } = &mut self.form else { return Ok(()) };
        if renderer.screen.width.is_some() {
            // The window may have changed.
            renderer.screen = Screen::of_stdout();
        }
        if Instant::now() >= *next {
            *next += suppressed::PERIOD;
            for event in suppressed.due() {
                writeln!(out, "{}", renderer.render(&event))?;
            }
        }
        Ok(out.flush()?)
    }

    /// Whether the output has no reader any more: a pipe whose other end is closed, or a socket or
    /// a terminal that is gone.
    fn is_closed(&self) -> bool {
        let stdout = io::stdout();
        let output = self.file.as_ref().map_or(stdout.as_fd(), AsFd::as_fd);
        // Errors and hang-ups are always reported (poll(2)).
        let mut outputs = [PollFd::from_borrowed_fd(output, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let polled = poll(&mut outputs, Some(&at_once));
        let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        polled.is_ok() && outputs[0].revents().intersects(gone)
    }

    fn flush(&mut self) -> Result<()> {
        match &mut self.form {
            Form::Text { out, .. } | Form::Json(out) | Form::Eve(out, _) => Ok(out.flush()?),
            Form::Capture(capture, _) => Ok(capture.flush()?),
        }
    }
}
