"""Whether this process may believe that a lease has ended because its process is dead, and not because of an outage."""

from __future__ import annotations

import time


class Steadiness:
    """When this process last wrote to the store, and since when it has done so without a gap.

    After an outage that outlasted them all leases have ended, though the handlers may be well. Only writes count: they
    can stand still while reads go on, and a lease is renewed by a write.
    """

    def __init__(self, lease: float) -> None:
        """Take the length of a lease, in seconds. Every process renews its own three times in it."""
        self._gap = lease / 2
        self._since: float | None = None
        self._wrote_at = float("-inf")

    def wrote(self) -> None:
        """Note that a write was committed just now."""
        now = time.monotonic()
        if self._since is None or now - self._wrote_at > self._gap:
            self._since = now
        self._wrote_at = now

    def failed(self) -> None:
        """Note that the store did not answer."""
        self._since = None

    def is_steady(self) -> bool:
        """Return whether writes went well, until now, for so long that every live process has renewed its leases.

        May be asked in any thread. The last write must be recent: the first job after an outage is done before the
        outage is noticed otherwise.
        """
        since, now = self._since, time.monotonic()
        return since is not None and now - since >= self._gap and now - self._wrote_at <= self._gap
