//! The HTTP client: failures told apart, and nothing shown or kept that should not be.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use fastapi_handoff::http::{Answer, Arrival, Http, HttpError, Next, Options, Request, Route, TlsProblem, When};
use reqwest::Method;

use crate::log::Log;
use crate::server::{Reply, Server};

async fn send_logged(request: Request, log: &Log) -> Result<Answer, HttpError> {
    let options = Options { timeout: Duration::from_secs(2), ca_certificates: Vec::new(), route: Route::Direct };
    Http::new(&options, log.console()).unwrap().send(&request).await
}

async fn get(url: &str) -> Result<Answer, HttpError> {
    send_logged(Request::new(Method::GET, url), &Log::default()).await
}

fn judged(result: Result<Answer, HttpError>) -> (HttpError, Arrival, Next) {
    let Err(error) = result else { panic!("an answer came") };
    let (arrival, next) = (error.arrival(), error.next());
    (error, arrival, next)
}

#[tokio::test]
async fn refused_connection_cannot_have_brought_the_request() {
    let (error, arrival, next) = judged(get("http://127.0.0.1:9/").await);
    assert!(matches!(error, HttpError::Connect(_)), "{error}");
    assert_eq!((arrival, next), (Arrival::Impossible, Next::Retry(When::Later)));
}

#[tokio::test]
async fn connection_that_breaks_may_have_brought_the_request() {
    let server = Server::in_turn(vec![]);
    let (error, arrival, next) = judged(get(&server.origin).await);
    assert!(matches!(error, HttpError::Broken(_)), "{error}");
    assert_eq!((arrival, next), (Arrival::Possible, Next::Retry(When::Later)));
}

#[tokio::test]
async fn silence_ends_at_the_timeout_and_may_have_brought_the_request() {
    let server = Server::in_turn(vec![Reply::Silence(Duration::from_secs(5))]);
    let started = Instant::now();
    let (error, arrival, next) = judged(get(&server.origin).await);
    assert_eq!(error.to_string(), "no whole answer within 2 s");
    assert_eq!((arrival, next), (Arrival::Possible, Next::Retry(When::Later)));
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn answer_without_end_is_cut_and_not_asked_for_again() {
    let server = Server::in_turn(vec![Reply::Answer(200, vec![], vec![b'x'; 3 * 1024 * 1024])]);
    let (error, arrival, next) = judged(get(&server.origin).await);
    assert!(matches!(error, HttpError::TooLarge), "{error}");
    assert_eq!((arrival, next), (Arrival::Possible, Next::Final));
}

#[tokio::test]
async fn redirect_is_an_answer_and_not_followed() {
    let elsewhere = Server::in_turn(vec![]);
    let redirect = Reply::Answer(302, vec![("location", elsewhere.origin.clone())], vec![]);
    let server = Server::in_turn(vec![redirect]);
    assert_eq!(get(&server.origin).await.unwrap().status.as_u16(), 302);
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn server_without_tls_is_named_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 4096];
        let _ = stream.read(&mut hello).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let (error, arrival, next) = judged(get(&url).await);
    let HttpError::Tls { problem, .. } = &error else { panic!("{error}") };
    assert_eq!(*problem, TlsProblem::NoTls);
    assert_eq!((arrival, next), (Arrival::Impossible, Next::Final));
}

#[tokio::test]
async fn body_of_a_secret_answer_is_shown_only_where_it_refuses() {
    for (status, is_shown) in [(200, false), (400, true)] {
        let server = Server::in_turn(vec![Reply::Answer(status, vec![], b"opaque-token".to_vec())]);
        let log = Log::default();
        let request = Request::new(Method::POST, &server.origin).with_secret_answer();
        send_logged(request, &log).await.unwrap();
        assert_eq!(log.text().contains("opaque-token"), is_shown, "{}", log.text());
    }
}

#[tokio::test]
async fn secret_header_goes_out_and_is_not_shown() {
    let server = Server::in_turn(vec![Reply::Answer(200, vec![], vec![])]);
    let log = Log::default();
    let request = Request::new(Method::GET, &server.origin).secret_header(reqwest::header::COOKIE, "s3cr3t-c00kie");
    send_logged(request, &log).await.unwrap();
    assert_eq!(server.received()[0].header("cookie"), Some("s3cr3t-c00kie"));
    assert!(log.text().contains("cookie: ***") && !log.text().contains("c00kie\n"), "{}", log.text());
}
