"""`audit verify`: is the chain what it was, and do the receipts agree with it?

`verify` reads one connection, `verify_store` the store at a URL, a long chain in several processes. What can be wrong
with one record stands in `links`, with one receipt in `receipts`, with the outcomes of an event in `outcomes`.
"""

from fastapi_handoff.audit.verify.found import KEPT_FINDINGS, Finding, Progress, Verification, ignore
from fastapi_handoff.audit.verify.processes import VerificationUnfinished, verify_store
from fastapi_handoff.audit.verify.whole import verify

__all__ = [
    "KEPT_FINDINGS",
    "Finding",
    "Progress",
    "Verification",
    "VerificationUnfinished",
    "ignore",
    "verify",
    "verify_store",
]
