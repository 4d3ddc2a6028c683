//! The flow, in the order a reader of the log sees it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use secrecy::SecretString;
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::console::Console;
use crate::delivery::{Delivery, Patience, deliver, event_request};
use crate::dry_run;
use crate::environment::Environment;
use crate::event::Event;
use crate::failure::{Exit, Failure};
use crate::http::{Http, Options, Route};
use crate::last_words;
use crate::random;
use crate::receipt::{Receipt, State, print_marks};
use crate::receiver::Receiver;
use crate::receiver_url::ReceiverUrl;
use crate::report::{Outcome, Reporter, STOP_LIMIT, Verdict};
use crate::step_key::{Origin, StepKey};
use crate::step_token::{self, IdentityError, UnverifiedClaims, in_words};
use crate::stop::Stop;
use crate::variables::Settings;

/// After this, a status that may still have been on its way has arrived or never will.
pub(crate) const OVERTAKING: Duration = Duration::from_secs(2);

/// How the run ended.
enum End {
    Delivery(Delivery),
    Stopped(&'static str),
}

/// Runs the pipe.
pub async fn run(environment: &Environment) -> Exit {
    let started = Instant::now();
    let console = Arc::new(Console::new(environment.is_on("DEBUG")));
    let mut settings = match Settings::read(environment) {
        Ok(settings) => settings,
        Err(mistakes) => {
            for mistake in mistakes {
                console.fail(&mistake.to_string());
            }
            return Exit::Configuration;
        }
    };
    for secret in &settings.secrets {
        console.hide(secret);
    }
    console.done("context", &settings.pipeline.summary());

    let (step_token, claims) = match identity(&settings) {
        Ok(identity) => identity,
        Err(error) => {
            console.fail(&error.what);
            console.plain(&error.advice);
            return Exit::Identity;
        }
    };
    console.done("identity", &console.clean_line(&identity_line(&claims), 500));
    let (key, origin) = StepKey::load_or_create(settings.storage_dir.as_deref(), &step_token);
    if let Origin::InMemory(why) = &origin {
        console.debug(|| format!("the step's key serves this pipe only: {why}"));
    }
    let event = Event::new(
        format!("evt_{}", random::token::<16>()),
        OffsetDateTime::now_utc(),
        &settings,
        &claims,
    );

    let reporter = if settings.dry_run {
        None
    } else {
        Some(Reporter::choose(&mut settings, &console))
    };
    let http = Http::new(
        &Options {
            timeout: settings.timeout,
            ca_certificates: settings.ca_certificates.clone(),
            route: Route::to(settings.receiver.as_str()),
        },
        console.clone(),
    );
    let (http, reporter, mut stop) = match (http, reporter.transpose(), Stop::install()) {
        (Ok(http), Ok(reporter), Ok(stop)) => (http, reporter, stop),
        (Err(error), ..) | (_, Err(error), _) => {
            console.fail(&error);
            return Exit::Configuration;
        }
        (.., Err(error)) => {
            console.fail(&format!("signals cannot be handled: {error}"));
            return Exit::Internal;
        }
    };
    let mut receiver = Receiver::new(
        http,
        settings.receiver.clone(),
        step_token,
        key,
        settings.scope.clone(),
        console.clone(),
    );
    let Some(reporter) = reporter else {
        print_request(&receiver, &event, &settings, &console);
        return Exit::Done;
    };
    forget_receipt(&settings, &console);

    let reporter = Arc::new(reporter);
    last_words::tell_on_panic(reporter.clone(), event.id.clone());
    // Beside the exchange, not before it.
    let first_status = tokio::spawn({
        let reporter = reporter.clone();
        async move { reporter.begin().await }
    });
    let end = hand_over(&mut receiver, &event, &settings, &mut stop).await;
    let outcome = tell(&end, &event.id, &settings.receiver, &console, started.elapsed());
    let told = report(&reporter, &outcome, first_status, &mut stop).await;
    let kept = keep_receipt(&end, &settings, &console);
    exit(&end, told && kept)
}

fn exit(end: &End, told: bool) -> Exit {
    match end {
        End::Stopped(_) => Exit::Stopped,
        End::Delivery(Delivery { outcome, .. }) => match outcome {
            Err(failure) => failure.exit(),
            Ok(receipt) if receipt.state != State::Succeeded => Exit::HandlerFailed,
            Ok(_) if told => Exit::Done,
            Ok(_) => Exit::NotReported,
        },
    }
}

fn identity(settings: &Settings) -> Result<(SecretString, UnverifiedClaims), IdentityError> {
    let token = settings
        .step_token
        .clone()
        .ok_or_else(|| step_token::missing(&settings.receiver))?;
    let claims = UnverifiedClaims::read(&token)?;
    claims.preflight(&settings.receiver, SystemTime::now())?;
    Ok((token, claims))
}

fn identity_line(claims: &UnverifiedClaims) -> String {
    let mut line = format!("step token of repository {}", claims.repository_uuid);
    if let Some(branch) = &claims.branch_name {
        line.push_str(&format!(" · branch {branch}"));
    }
    if let Some(environment) = &claims.environment_uuid {
        line.push_str(&format!(" · environment {environment}"));
    }
    line.push_str(&format!(
        " · good for {}",
        in_words(claims.time_left(SystemTime::now()).as_secs())
    ));
    line
}

fn print_request(receiver: &Receiver, event: &Event, settings: &Settings, console: &Console) {
    console.info(
        "DRY_RUN: nothing is sent; the exchange would give the access token, and this is the request that would follow",
    );
    let (request, digest) = event_request(settings.receiver.events(), event, &settings.signing_secrets);
    let request = receiver.proved(&request, Some(&SecretString::default()), Some(&digest));
    console.print(&dry_run::curl(&request));
}

/// Delivers, until the end or a signal.
async fn hand_over(receiver: &mut Receiver, event: &Event, settings: &Settings, stop: &mut Stop) -> End {
    let patience = Patience {
        retry_budget: settings.retry_budget,
        wait_timeout: settings.wait_timeout,
    };
    tokio::select! {
        delivery = deliver(receiver, event, &settings.signing_secrets, patience) => End::Delivery(delivery),
        signal = stop.wait() => End::Stopped(signal),
    }
}

/// Tells the commit the outcome, last: a first status that is still on its way must not arrive after it and stand for ever.
async fn report(reporter: &Reporter, outcome: &Outcome, mut first_status: JoinHandle<bool>, stop: &mut Stop) -> bool {
    let settled = if outcome.verdict == Verdict::Stopped {
        cut_short(first_status).await
    } else {
        tokio::select! {
            settled = &mut first_status => settled.unwrap_or(false),
            _ = stop.wait() => cut_short(first_status).await,
        }
    };
    let mut told = tokio::select! {
        told = reporter.end(outcome) => told,
        // The outcome stands; there is just less time to tell it.
        _ = stop.wait() => reporter.end_within(STOP_LIMIT, outcome).await,
    };
    if !settled {
        sleep(OVERTAKING).await;
        told |= reporter.end_within(STOP_LIMIT, outcome).await;
    }
    told
}

/// After a signal there is no time to wait for the first status; left alone, it would be tried again after the last one.
async fn cut_short(first_status: JoinHandle<bool>) -> bool {
    first_status.abort();
    first_status.await.unwrap_or(false)
}

/// Prints the end and returns what the commit is told.
fn tell(end: &End, event_id: &str, receiver: &ReceiverUrl, console: &Console, elapsed: Duration) -> Outcome {
    match end {
        End::Delivery(Delivery { outcome, tries }) => {
            let told = match outcome {
                Ok(receipt) => Outcome::of_receipt(receipt),
                Err(failure) => Outcome::of_failure(failure, event_id),
            };
            let told = Outcome {
                tries: *tries,
                elapsed,
                ..told
            };
            match outcome {
                Ok(receipt) => tell_receipt(receipt, &told, console),
                Err(failure) => tell_failure(failure, event_id, receiver, console),
            }
            told
        }
        End::Stopped(signal) => {
            let headline = format!("Stopped by {signal}; the receiver may have got the event");
            console.fail(&format!(
                "stopped by {signal}; the receiver may have got the event {event_id}"
            ));
            Outcome {
                elapsed,
                ..Outcome::plain(Verdict::Stopped, "stopped", headline, event_id)
            }
        }
    }
}

fn tell_receipt(receipt: &Receipt, outcome: &Outcome, console: &Console) {
    let mut line = format!("{} · {}", receipt.id, outcome.word);
    if let Some(grant) = receipt.grant() {
        line.push_str(&format!(" · grant `{grant}`"));
    }
    line.push_str(&format!(" · {:.1} s", outcome.elapsed.as_secs_f64()));
    if outcome.tries > 1 {
        line.push_str(&format!(" · {} tries", outcome.tries));
    }
    let line = console.clean_line(&line, 500);
    if receipt.state == State::Succeeded {
        console.done("event", &line);
    } else {
        console.fail(&format!("{:<9} {line}", "event"));
        console.plain(&console.clean_line(&outcome.headline, 1000));
    }
    if !receipt.result.is_null() {
        console.info(&console.clean_line(&format!("result {}", receipt.result), 500));
    }
    print_marks(console, receipt.audit.as_ref(), receipt.trace_id.as_deref());
}

fn tell_failure(failure: &Failure, event_id: &str, receiver: &ReceiverUrl, console: &Console) {
    match failure {
        Failure::Refused(refusal) => refusal.print(console, receiver),
        Failure::NotDelivered(not) => {
            let lead = if not.outcome_unknown {
                format!("the event {event_id} was sent, but its outcome is not known")
            } else {
                "the event was not delivered".to_owned()
            };
            console.fail(&console.clean_line(&format!("{lead}: {}", not.what), 1000));
            if let Some(advice) = &not.advice {
                console.plain(advice);
            }
            if let Some(refusal) = &not.refusal {
                refusal.explain(console, receiver);
            }
        }
    }
}

/// A receipt of an earlier run must not be taken for this one's.
fn forget_receipt(settings: &Settings, console: &Console) {
    if let Some(path) = &settings.receipt_file
        && let Err(error) = std::fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        console.warn(&format!(
            "RECEIPT_FILE {} is of an earlier run and cannot be removed: {error}",
            path.display()
        ));
    }
}

/// Writes the receipt for the steps after. False where that was wanted and failed.
fn keep_receipt(end: &End, settings: &Settings, console: &Console) -> bool {
    let (
        End::Delivery(Delivery {
            outcome: Ok(receipt), ..
        }),
        Some(path),
    ) = (end, &settings.receipt_file)
    else {
        return true;
    };
    let json = serde_json::to_string_pretty(receipt).unwrap_or_default();
    match std::fs::write(path, format!("{}\n", console.clean(&json))) {
        Ok(()) => true,
        Err(error) => {
            console.fail(&format!("RECEIPT_FILE {} cannot be written: {error}", path.display()));
            false
        }
    }
}
