"""What happens once: a proof is used, a subject token is bound to a key. Both inside the transaction they guard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from fastapi_handoff.request import Refusal
from fastapi_handoff.store import change_one, proof_ids, subject_token_bindings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fastapi_handoff.issuers import Attested

_CLAIM = insert(proof_ids)
_BIND = insert(subject_token_bindings)
_BOUND_TO = select(subject_token_bindings.c.jkt).where(
    subject_token_bindings.c.issuer == bindparam("issuer"),
    subject_token_bindings.c.replay_key == bindparam("replay_key"),
)


@dataclass(frozen=True, slots=True)
class ProofId:
    """The id of a proof, which is good for one request."""

    jkt: str
    """RFC 7638 thumbprint of the proof's key."""
    jti: str
    expires_at: int
    """Unix seconds until which it must be remembered."""

    def claim(self, connection: Connection) -> None:
        """Use the id up. Raises `Refusal`: `proof-replayed`."""
        try:
            change_one(connection, _CLAIM, {"jkt": self.jkt, "jti": self.jti, "expires_at": self.expires_at})
        except IntegrityError:
            raise Refusal(
                "proof-replayed", "the proof's `jti` was used before: make a new proof for each request"
            ) from None


def bind(connection: Connection, attested: Attested, jkt: str) -> None:
    """Bind a subject token to the key of its first exchange. Raises `Refusal`: `step-token-already-bound`."""
    token = {"issuer": attested.issuer.url, "replay_key": attested.replay_key}
    bound = connection.execute(_BOUND_TO, token).scalar()
    if bound is None:
        change_one(connection, _BIND, {**token, "jkt": jkt, "expires_at": attested.remember_until})
    elif bound != jkt:
        raise Refusal(
            "step-token-already-bound",
            "the subject token was exchanged with another key: if no other pipe of this step did that, it was stolen",
        )
