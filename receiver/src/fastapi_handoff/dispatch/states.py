"""The life of a receipt: one table of what can happen to it, and what each happening makes of it.

    delivered ──▶ pending ──claimed──▶ running ──ended──▶ succeeded, failed
                                          └───────────────▶ interrupted

Whoever starts a handler has claimed its receipt before, in a transaction that is committed. So a `pending` receipt's
handler was started by nobody. A `running` one's was started by the process that claimed it, and again by another only
where it is idempotent and that process gave no sign of life.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ATTEMPTS: Final = 5
"""Of an idempotent handler: one that kills its process each time must not take every replica down for ever."""
RELEASE_SECONDS: Final = 900
"""How long an event waits for a replica that has its handler before it is told that none has."""
_LOOK_FIRST: Final = (
    "Look at what it changes before anything is run again: whether it did its work is not known, and a new run of the "
    "step is a new event, which starts the handler anew"
)


class State(StrEnum):
    """What is stored in a receipt."""

    PENDING = "pending"
    """Accepted. The handler was not started."""
    RUNNING = "running"
    """Claimed by a process, which starts the handler or has started it."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The handler was cut off, or must not be started. It is not started again."""

    @property
    def is_final(self) -> bool:
        """Whether it will not change any more."""
        return self not in {State.PENDING, State.RUNNING}

    @property
    def told(self) -> str:
        """What the protocol calls it. A client has nothing to do about whether a handler runs or is about to."""
        return (State.RUNNING if self is State.PENDING else self).value


class Happening(Enum):
    """What can happen to a receipt after its event was accepted."""

    DELIVERED = "the same event is delivered again"
    DELIVERED_OTHERWISE = "another body is delivered under its id"
    CLAIMED = "a process takes it, to start its handler"
    RESUMED = "the process of its idempotent handler is gone, and another takes it"
    SUCCEEDED = "its handler has returned"
    FAILED = "its handler has raised"
    STOPPED = "its handler was cut off as the app was shut down"
    ENDED_LATE = "its handler has ended, and the receipt is another process's by now, or final"
    GIVEN_BACK = "the app is shut down, and another process may start its handler"
    DIED = "the process of its handler is gone"
    DIED_TOO_OFTEN = "the process of its idempotent handler is gone once too often"
    CAME_BACK = "it is not final, and this process has started its handler before"
    ALTERED = "it is not what was recorded of it"
    NOT_HANDLED = "the app has no handler for it any more"


class Hold(Enum):
    """What becomes of the lease: which process answers for the receipt, and until when."""

    KEPT = "it stays as it is"
    TAKEN = "this process has it, for the length of a lease from now"
    ENDED = "nobody has it: the next process may take it at once"
    NONE = "there is none any more"


class Step(NamedTuple):
    """What a happening makes of a receipt."""

    to: State
    records: tuple[tuple[str, str | None], ...] = ()
    """Action and decision of each audit record, in order; without a decision, it is what the handler came to."""
    detail: str | None = None
    """What a receipt that it ends tells, where neither the handler nor a reason does."""
    hold: Hold = Hold.KEPT
    attempts: int = 0
    """How many are added."""
    code: str | None = None
    """The code that the caller is refused with. Without one it is told the receipt, in its new state."""


def _ends(state: State, detail: str | None = None, *before: tuple[str, str | None]) -> Step:
    return Step(state, (*before, ("event.outcome", state.value)), detail, Hold.NONE)


_OPEN: Final = (State.PENDING, State.RUNNING)

TABLE: Final[Mapping[Happening, Mapping[State, Step]]] = {
    Happening.DELIVERED: {state: Step(state, (("event.redeliver", "accepted"),)) for state in State},
    Happening.DELIVERED_OTHERWISE: {
        state: Step(state, (("event.accept", "refused"),), code="event-conflict") for state in State
    },
    Happening.CLAIMED: {
        State.PENDING: Step(State.RUNNING, hold=Hold.TAKEN, attempts=1),
        # Claimed by this very process, to which the answer of the commit was lost.
        State.RUNNING: Step(State.RUNNING, hold=Hold.TAKEN),
    },
    Happening.RESUMED: {
        State.RUNNING: Step(State.RUNNING, (("event.resume", "accepted"),), hold=Hold.TAKEN, attempts=1)
    },
    # A receipt whose handler has ended is pending where the database lost the commit of the claim.
    Happening.SUCCEEDED: {state: _ends(State.SUCCEEDED) for state in _OPEN},
    Happening.FAILED: {state: _ends(State.FAILED) for state in _OPEN},
    Happening.STOPPED: {
        state: _ends(State.INTERRUPTED, f"the receiver was stopped while the handler ran. {_LOOK_FIRST}")
        for state in _OPEN
    },
    Happening.ENDED_LATE: {state: Step(state, (("event.late_outcome", None),)) for state in State},
    Happening.GIVEN_BACK: {state: Step(state, hold=Hold.ENDED) for state in _OPEN},
    Happening.DIED: {
        State.RUNNING: _ends(
            State.INTERRUPTED, f"the receiver's process gave no sign of life while the handler ran. {_LOOK_FIRST}"
        )
    },
    Happening.DIED_TOO_OFTEN: {
        State.RUNNING: _ends(
            State.INTERRUPTED,
            f"the receiver's process gave no sign of life while the handler ran, {MAX_ATTEMPTS} times. {_LOOK_FIRST}",
        )
    },
    Happening.CAME_BACK: {
        state: _ends(
            State.INTERRUPTED,
            "the receiver started the handler, and what became of it is not in the database: its last commits were "
            f"lost, or the outcome could not be written. {_LOOK_FIRST}",
        )
        for state in _OPEN
    },
    Happening.ALTERED: {state: _ends(State.INTERRUPTED, None, ("event.resume", "refused")) for state in _OPEN},
    Happening.NOT_HANDLED: {
        State.PENDING: _ends(
            State.FAILED, "the app has no handler for this type of event any more: the handler was not started"
        )
    },
}
"""Every cell there is. What is not here cannot happen, and `step` raises."""


def step(state: State, happening: Happening) -> Step:
    """Return what a happening makes of a receipt in a state. Raises `KeyError` for what cannot happen."""
    return TABLE[happening][state]


class Lease(Enum):
    """Who answers for a receipt that is not final, by the database's clock."""

    OURS = "this process"
    ANOTHERS = "another process, which gave a sign of life"
    ENDED = "nobody: no process gave a sign of life in time"


class Sight(NamedTuple):
    """What a process sees of a receipt that is not final and for which it has no run."""

    state: State
    lease: Lease
    is_steady: bool
    """Whether the store was written for so long that every live process has renewed its leases."""
    attempts: int
    was_started_here: bool
    """Whether this process has started its handler before."""
    is_handled: bool
    """Whether the app has a handler for it."""
    is_idempotent: bool
    is_new: bool
    """Whether it was accepted less than `RELEASE_SECONDS` ago."""


def judge(sight: Sight) -> Happening | None:
    """Return what has happened, from what is seen; `None` where the receipt is, or may be, another process's."""
    if sight.lease is Lease.ANOTHERS:
        return None
    if sight.lease is Lease.ENDED and not sight.is_steady:
        # An outage has ended it, perhaps: its process may live, and renew it next.
        return None
    if sight.was_started_here:
        # "The lease is mine and nothing runs" is also what a database shows that lost its last commits.
        return Happening.CAME_BACK
    if sight.state is State.PENDING:
        if not sight.is_handled and sight.is_new:
            # Perhaps a release that adds a handler is under way, and another replica has it.
            return None
        return Happening.CLAIMED if sight.is_handled else Happening.NOT_HANDLED
    if sight.lease is Lease.OURS:
        return Happening.CLAIMED
    if not sight.is_idempotent:
        return Happening.DIED
    return Happening.RESUMED if sight.attempts < MAX_ATTEMPTS else Happening.DIED_TOO_OFTEN
