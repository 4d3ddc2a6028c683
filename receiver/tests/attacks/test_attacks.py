"""Each hostile request is refused with its own code, recorded, and changes nothing."""

from __future__ import annotations

import pytest

from attacks import access_tokens, events, proofs, step_tokens, token_forms
from attacks.attack import Attack, stage
from fastapi_handoff.request.refusal import CODES

CORPUS = {
    f"{group.__name__}: {attack.name}": attack
    for group in (step_tokens, token_forms, proofs, access_tokens, events)
    for attack in group.ATTACKS
}
STATE = ("subject_token_bindings", "proof_ids", "receipts", "public_keys")


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.mark.parametrize("attack", CORPUS.values(), ids=CORPUS)
async def test_attack_is_refused_recorded_and_harmless(attack: Attack, receivers, records, sql, monkeypatch) -> None:
    receiver = await receivers(**attack.options)
    prepared = await stage(receiver)
    state = {}

    # What the attack's own honest requests changed, if it makes some, was changed before the last one.
    send = receiver.client.send

    async def note_state_then_send(*arguments, **options):
        state.update({table: sql(f"SELECT * FROM {table}") for table in STATE}, calls=list(receiver.calls))
        state["records"] = len(records())
        return await send(*arguments, **options)

    monkeypatch.setattr(receiver.client, "send", note_state_then_send)
    response = await attack.act(prepared)

    body = response.json()
    assert (body["code"], response.status_code) == (attack.code, attack.status or CODES[attack.code].status), body
    assert {table: sql(f"SELECT * FROM {table}") for table in STATE} == {table: state[table] for table in STATE}
    assert receiver.calls == state["calls"]
    refusals = [record for record in records()[state["records"] :] if record["action"] != "request"]
    assert [(record["decision"], record["code"]) for record in refusals] == [("refused", attack.code)]
    [refusal] = refusals
    if refusal["actor"] is None:
        assert body["trace"] == []
        assert "audit" not in body
    else:
        assert body["audit"]["seq"] == refusal["seq"]
    if response.status_code == 401:
        assert response.headers["www-authenticate"].startswith('DPoP algs="ES256"')
    assert body["trace_id"] == refusal["trace_id"]


def test_corpus_is_large_and_holds_every_code() -> None:
    assert len(CORPUS) >= 80
    elsewhere = {
        "issuer-unavailable",
        "store-unavailable",
        "receipt-damaged",  # no request's doing: test_altered_receipts.py
        "body-timeout",  # needs a connection: test_wire.py
        "step-token-lifetime-exceeded",  # Bitbucket publishes no lifetime: issuers/kinds/test_hostile_tokens.py
        "user-token-not-taken",  # of other kinds of issuers, as is the next: issuers/kinds/test_modes.py
        "issuer-audit-only",
    }
    assert {attack.code for attack in CORPUS.values()} == CODES.keys() - elsewhere
