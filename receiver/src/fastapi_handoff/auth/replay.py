"""What happens once: a proof is used, a step token is bound to a key. Both inside the transaction they guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from fastapi_handoff.request.refusal import Refusal
from fastapi_handoff.store import proof_ids, step_token_bindings
from fastapi_handoff.store.compiled import change_one, fetch

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fastapi_handoff.auth.dpop import Proof
    from fastapi_handoff.issuers.bitbucket import StepIdentity

_CLAIM = insert(proof_ids)
_BIND = insert(step_token_bindings)
_BOUND_TO = select(step_token_bindings.c.jkt).where(
    step_token_bindings.c.issuer == bindparam("issuer"),
    step_token_bindings.c.signing_input_sha256 == bindparam("signing_input_sha256"),
)


def claim(connection: Connection, proof: Proof) -> None:
    """Use a proof up. Raises `Refusal`: `proof-replayed`."""
    try:
        change_one(connection, _CLAIM, {"jkt": proof.jkt, "jti": proof.jti, "expires_at": proof.expires_at})
    except IntegrityError:
        raise Refusal(
            "proof-replayed", "the proof's `jti` was used before: make a new proof for each request"
        ) from None


def bind(connection: Connection, step: StepIdentity, jkt: str) -> None:
    """Bind a step token to the key of its first exchange. Raises `Refusal`: `step-token-already-bound`."""
    token = {"issuer": step.issuer, "signing_input_sha256": step.signing_input_sha256}
    bound = fetch(connection, _BOUND_TO, token)
    if bound is None:
        change_one(connection, _BIND, {**token, "jkt": jkt, "expires_at": step.remember_until})
    elif bound[0] != jkt:
        raise Refusal(
            "step-token-already-bound",
            "the step token was exchanged with another key: if no other pipe of this step did that, it was stolen",
        )
