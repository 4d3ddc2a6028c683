"""The constants that both sides agree on, each the only one of its kind."""

from __future__ import annotations

from typing import Final

LEEWAY: Final = 60
"""Seconds by which two clocks may differ, at both sides and inclusive.

Used for every comparison with a clock *and* for how long replay memory lasts: were they two constants, a proof could
be still acceptable and already forgotten.
"""

REPLAY_MEMORY: Final = 2 * LEEWAY
"""Seconds to remember a proof after its `iat`, and a subject token's binding after its `exp`.

One leeway is how long it stays acceptable; the other is for a replica whose clock runs behind.
"""

ACCESS_TOKEN_LIFETIME: Final = 300
"""Seconds an access token lives at most; never past the subject token's own `exp`."""

TOKEN_BODY_BYTES: Final = 64 * 1024
EVENT_BODY_BYTES: Final = 256 * 1024
BODY_SECONDS: Final = 30
"""For a whole body to come, of the handoff's own routes."""
HEADER_BYTES: Final = 16 * 1024
TOKEN_BYTES: Final = 8 * 1024
"""A subject token's or an access token's length."""
PROOF_BYTES: Final = 4 * 1024
SCOPE_CHARACTERS: Final = 1024
"""Of the `scope` that a token request asks for."""
DETAIL_CHARACTERS: Final = 1000
"""A receipt's `detail` is cut to this."""
TRACE_CHECKS: Final = 200
"""Rows of a refusal's trace: a policy of a thousand grants must not make an answer that the pipe will not read."""
