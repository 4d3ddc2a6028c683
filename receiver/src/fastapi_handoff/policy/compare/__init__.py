"""Who has access by a policy, and what changes from one policy to another: decided exactly, with witnesses.

Here belong the walk over globs, the search for a caller, and the comparison. Not here: whether a change is meant, and
how it is told (`policy.review`).
"""

from fastapi_handoff.policy.compare.access import Event
from fastapi_handoff.policy.compare.diff import Change, PolicyDiff, Witness, compare

__all__ = ["Change", "Event", "PolicyDiff", "Witness", "compare"]
