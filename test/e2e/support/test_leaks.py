"""The search for leaked secrets finds them, so that finding none means something."""

import base64
from urllib.parse import quote

import pytest

from support.judges import leaks

SECRET = "ATCTT3xFfGN0/a+token=1A2B"


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        quote(SECRET, safe=""),
        *(base64.b64encode(f"{'u' * before}:{SECRET}".encode()).decode() for before in range(3)),
        *(base64.b64encode(f"{'u' * before}:{SECRET}:more".encode()).decode() for before in range(3)),
        base64.urlsafe_b64encode(b"??>" + SECRET.encode()).decode(),
        SECRET.replace("/", "%2f").replace("+", "%2b").replace("=", "%3d"),
        quote(quote(SECRET, safe=""), safe=""),
        SECRET.replace("/", "\\/"),
        "".join(f"\\u{ord(c):04x}" for c in SECRET),
        SECRET[:9] + "\n       " + SECRET[9:],
        SECRET[:9] + "\x1b[0m\n\x1b[90m       " + SECRET[9:],
        SECRET[:9] + "\\r\\n" + SECRET[9:],
        base64.b64encode(SECRET.encode()).decode()[:20] + "\n" + base64.b64encode(SECRET.encode()).decode()[20:],
    ],
)
def test_a_secret_is_found_in_every_form(text: str) -> None:
    assert leaks([SECRET], [("the log", f"before {text} after")])


def test_other_text_is_no_leak() -> None:
    assert leaks([SECRET], [("the log", "ATCTT… was hidden, and base64 of nothing: AAAA")]) == []
