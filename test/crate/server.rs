//! A local HTTP server whose answers a test decides, request by request.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the server does with a request.
pub(crate) enum Reply {
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Close the connection without an answer.
    HangUp,
    /// Say nothing for this long, then hang up.
    Silence(Duration),
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self::Answer(status, headers, body.to_string().into_bytes())
    }

    pub(crate) fn with(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Answer(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Self::Answer(status, headers, body)
            }
            other => other,
        }
    }
}

pub(crate) struct Server {
    /// `http://127.0.0.1:<port>`
    pub(crate) origin: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    /// Answer every request with what `reply` returns. The threads end with the test's process.
    pub(crate) fn start(reply: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        Self::until(usize::MAX, reply)
    }

    /// Answer so many requests, and refuse every connection after.
    pub(crate) fn until(requests: usize, reply: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let reply = Arc::new(Mutex::new(reply));
        std::thread::spawn({
            let received = received.clone();
            move || {
                for stream in listener.incoming().take(requests) {
                    let (reply, received) = (reply.clone(), received.clone());
                    std::thread::spawn(move || {
                        let stream = stream.unwrap();
                        let Some(request) = read(&stream) else { return };
                        received.lock().unwrap().push(request.clone());
                        let reply = reply.lock().unwrap()(&request);
                        write(&stream, reply);
                    });
                }
            }
        });
        Self { origin, received }
    }

    /// Answer the requests in turn, and hang up once the replies are used up.
    pub(crate) fn in_turn(replies: Vec<Reply>) -> Self {
        let mut replies = replies.into_iter();
        Self::start(move |_| replies.next().unwrap_or(Reply::HangUp))
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received { path, headers, body })
}

fn write(mut stream: &TcpStream, reply: Reply) {
    match reply {
        Reply::HangUp => {}
        Reply::Silence(time) => std::thread::sleep(time),
        Reply::Answer(status, headers, body) => {
            let mut text = format!("HTTP/1.1 {status} Test\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
            text.push_str("\r\n");
            // The client may have hung up: that is then what the test is about.
            let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    }
}
