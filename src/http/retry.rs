//! What a failed request allows next, and when: full jitter inside one budget, and `Retry-After` obeyed.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::Instant;

use crate::crypto::random_fraction;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What a failed request allows next. One classification for the receiver and for Bitbucket: [`Answer::next`] sorts
/// answers, [`HttpError::next`] what has none.
///
/// [`Answer::next`]: super::Answer::next
/// [`HttpError::next`]: super::HttpError::next
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another try can succeed.
    Retry(When),
    /// Another try gets the same.
    Final,
}

/// When another try may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once: something was learnt that makes the next try another one (a nonce, an expired access token).
    Now,
    /// After a random wait that grows with the number of tries.
    Later,
    /// Not before this has passed: the other side said so.
    After(Duration),
}

/// Whether the other side may have got a request, and acted on it, though no answer says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arrival {
    Impossible,
    Possible,
}

/// Return whether an answer of this status may be another one the next time.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
}

/// Counts tries against a budget.
pub struct Retry {
    deadline: Instant,
    tries: u32,
    at_once: u32,
}

impl Retry {
    /// Start the budget.
    pub fn new(budget: Duration) -> Self {
        Self { deadline: Instant::now() + budget, tries: 1, at_once: 0 }
    }

    /// Return how many tries there were, the one under way included.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Return the wait before the next try, or `None` where the budget does not cover it.
    pub fn next_wait(&mut self, when: When) -> Option<Duration> {
        let wait = match when {
            // A receiver that answers every try with another nonce must not make the pipe spin.
            When::Now if self.at_once < 3 => {
                self.at_once += 1;
                Duration::ZERO
            }
            When::Now | When::Later => self.jitter(),
            // Some of our own on top, so that many pipes told the same second do not come back in it together.
            // A receiver that says 0 each time must not make the pipe spin either.
            When::After(wait) => wait + self.jitter().min(wait / 4 + FIRST_WAIT),
        };
        if Instant::now() + wait >= self.deadline {
            return None;
        }
        self.tries += 1;
        Some(wait)
    }

    fn jitter(&self) -> Duration {
        let doublings = self.tries.saturating_sub(1).min(10);
        let most = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
        most.mul_f64(random_fraction())
    }
}

/// Read `Retry-After` in either of its forms (RFC 9110, section 10.2.3). A malformed one, or a date that has passed, counts as absent.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds is a wait that no budget covers; it must not become a short one.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX)).min(u64::from(u32::MAX))));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;
    use crate::http::Answer;

    fn parse(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().ok()?);
        retry_after(&headers, UNIX_EPOCH + Duration::from_secs(784_111_777))
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_date() {
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:27 GMT"), None);
        assert_eq!(parse("-7"), None);
        assert_eq!(parse("7.5"), None);
        assert_eq!(parse("99999999999999999999999"), Some(Duration::from_secs(u64::from(u32::MAX))));
    }

    fn next(status: u16, retry_after: Option<&str>) -> Next {
        let mut headers = HeaderMap::new();
        headers.extend(retry_after.map(|text| (RETRY_AFTER, text.parse().unwrap())));
        let status = StatusCode::from_u16(status).unwrap();
        let body = Vec::new();
        Answer { status, headers, body }.next()
    }

    #[test]
    fn passing_statuses_are_tried_again_and_all_others_are_final() {
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(next(status, None), Next::Retry(When::Later), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 405, 409, 413, 422] {
            assert_eq!(next(status, Some("1")), Next::Final, "{status}");
        }
        let after = |seconds| Next::Retry(When::After(Duration::from_secs(seconds)));
        assert_eq!(next(503, Some("7")), after(7));
        assert_eq!(next(429, Some("soon")), Next::Retry(When::Later));
    }

    #[tokio::test(start_paused = true)]
    async fn wait_that_the_budget_does_not_cover_ends_the_tries() {
        let mut retry = Retry::new(Duration::from_secs(10));
        assert!(
            retry.next_wait(When::After(Duration::from_secs(5))).is_some_and(|wait| wait >= Duration::from_secs(5))
        );
        assert_eq!(retry.next_wait(When::After(Duration::from_secs(11))), None);
        assert_eq!(retry.tries(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn endless_new_nonces_do_not_make_the_pipe_spin() {
        let mut retry = Retry::new(Duration::from_secs(10));
        let waits = (0..20).map_while(|_| retry.next_wait(When::Now)).collect::<Vec<_>>();
        assert!(waits.iter().skip(3).any(|wait| !wait.is_zero()));
    }

    proptest! {
        #[test]
        fn no_retry_after_makes_the_reader_panic(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn jitter_stays_below_its_bound(tries in 1u32..100) {
            let retry = Retry { deadline: Instant::now(), tries, at_once: 0 };
            prop_assert!(retry.jitter() <= LONGEST_WAIT);
        }
    }
}
