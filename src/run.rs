//! The flow, in the order a reader of the log sees it.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use secrecy::SecretString;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::console::{Console, in_words};
use crate::event::{AttestedFacts, Event, EventId, EventInput};
use crate::exit::Exit;
use crate::http::{Http, Options, Route};
use crate::identity::{IdentityError, Origin, StepKey, UnverifiedClaims};
use crate::receiver::{Authorization, Client, Delivery, DpopProofs, Patience, deliver, event_request};
use crate::report::{self, End, Outcome, Reporter, Told};
use crate::settings::{Environment, Settings};
use crate::signals::StopSignals;

/// Run the pipe.
pub(crate) async fn run(environment: &Environment) -> Exit {
    let started = Instant::now();
    let console = Arc::new(Console::new(environment.is_on("DEBUG"), std::io::stderr()));
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
    console.done("context", &settings.step.summary());

    let (step_token, claims) = match identity(&settings) {
        Ok(identity) => identity,
        Err(error) => {
            console.fail(&error.to_string());
            console.plain(&report::for_identity(&error, &settings.receiver));
            return Exit::Identity;
        }
    };
    console.done("identity", &console.clean_line(&identity_line(&claims), 500));
    let event = event(&settings, &claims);
    let mut client = match client(&settings, step_token, &console) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    if settings.dry_run {
        print_request(&client, &event, &settings, &console);
        return Exit::Done;
    }
    let (reporter, mut stop) = match (Reporter::choose(&mut settings, &console), StopSignals::install()) {
        (Ok(reporter), Ok(stop)) => (Arc::new(reporter), stop),
        (Err(error), _) => {
            console.fail(&error.to_string());
            return Exit::Configuration;
        }
        (_, Err(error)) => {
            console.fail(&format!("signals cannot be handled: {error}"));
            return Exit::Internal;
        }
    };
    forget_receipt(settings.receipt_file.as_deref(), &console);

    report::report_on_panic(reporter.clone(), event.id.clone());
    let first_status = report::begin(&reporter);
    let end = hand_over(&mut client, &event, &settings, &mut stop).await;
    let outcome = Outcome::of(&end, &event.id, started.elapsed(), &console);
    report::log_outcome(&console, &end, &outcome, &settings.receiver);
    let told = report::finish(&reporter, &outcome, first_status, &mut stop).await;
    let kept = keep_receipt(&end, settings.receipt_file.as_deref(), &console);
    match (end.exit(), told, kept) {
        (Exit::Done, Told::Missed, _) | (Exit::Done, _, Err(NotKept)) => Exit::NotReported,
        (exit, ..) => exit,
    }
}

/// Return the step's token and what it says, where the receiver could accept it.
fn identity(settings: &Settings) -> Result<(SecretString, UnverifiedClaims), IdentityError> {
    let token = settings.step_token.clone().ok_or(IdentityError::Missing)?;
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
    let left = in_words(claims.time_left(SystemTime::now()).as_secs());
    line.push_str(&format!(" · good for {left}"));
    line
}

fn event(settings: &Settings, claims: &UnverifiedClaims) -> Event {
    let attested = AttestedFacts {
        workspace_uuid: &claims.workspace_uuid,
        branch: claims.branch_name.as_deref(),
        environment_uuid: claims.environment_uuid.as_ref(),
    };
    let input = EventInput::from(settings);
    Event::new(EventId::random(), OffsetDateTime::now_utc(), &input, &attested)
}

fn client(settings: &Settings, step_token: SecretString, console: &Arc<Console>) -> Result<Client, Exit> {
    let (key, origin) = StepKey::load_or_create(settings.storage_dir.as_deref(), &step_token);
    if let Origin::InMemory(why) = &origin {
        console.debug(|| format!("the step's key serves this pipe only: {why}"));
    }
    let options = Options {
        timeout: settings.timeout,
        ca_certificates: settings.ca_certificates.clone(),
        route: Route::to(settings.receiver.as_str()),
    };
    let http = Http::new(&options, console.clone()).map_err(|error| {
        console.fail(&error.to_string());
        Exit::Configuration
    })?;
    Ok(Client::new(
        http,
        settings.receiver.clone(),
        step_token,
        settings.scope.clone(),
        Box::new(DpopProofs::new(key, console.clone())),
        console.clone(),
    ))
}

fn print_request(client: &Client, event: &Event, settings: &Settings, console: &Console) {
    console.info(
        "DRY_RUN: nothing is sent; the exchange would give the access token, and this is the request that would follow",
    );
    let (request, digest) = event_request(settings.receiver.events(), event, &settings.signing_secrets);
    let authorization = Authorization { access_token: Some(&SecretString::default()), content_digest: Some(&digest) };
    console.print(&client.authenticated(&request, authorization).as_curl());
}

/// Deliver, until the end or a signal.
async fn hand_over(client: &mut Client, event: &Event, settings: &Settings, stop: &mut StopSignals) -> End {
    let patience = Patience { retry_budget: settings.retry_budget, wait_timeout: settings.wait_timeout };
    tokio::select! {
        delivery = deliver(client, event, &settings.signing_secrets, patience) => End::Delivery(delivery),
        signal = stop.wait() => End::Stopped(signal),
    }
}

/// Remove the receipt of an earlier run, which must not be taken for this one's.
fn forget_receipt(path: Option<&Path>, console: &Console) {
    if let Some(path) = path
        && let Err(error) = std::fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        let path = path.display();
        console.warn(&format!("RECEIPT_FILE {path} is of an earlier run and cannot be removed: {error}"));
    }
}

/// A receipt that was to be kept, and was not.
struct NotKept;

/// Write the receipt, where there is one, for the steps after.
fn keep_receipt(end: &End, path: Option<&Path>, console: &Console) -> Result<(), NotKept> {
    let (End::Delivery(Delivery { outcome: Ok(receipt), .. }), Some(path)) = (end, path) else {
        return Ok(());
    };
    let json = serde_json::to_string_pretty(receipt).unwrap_or_default();
    std::fs::write(path, format!("{}\n", console.clean(&json))).map_err(|error| {
        console.fail(&format!("RECEIPT_FILE {} cannot be written: {error}", path.display()));
        NotKept
    })
}
