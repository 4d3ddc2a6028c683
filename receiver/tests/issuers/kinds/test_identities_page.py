"""The policies of `docs/identities.md` are what the page says: they load, and let in the callers they are for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastapi_handoff import Handoff, Policy
from helpers.receiver_app import URL

PAGE = (Path(__file__).parents[4] / "docs/identities.md").read_text()
EXAMPLES = re.findall(r"^##+ ([^\n]+)\n(?:(?!^##).*\n)*?```toml\n((?:(?!```).*\n)*)```", PAGE, re.MULTILINE)


def test_every_policy_of_the_page_is_read_here() -> None:
    assert len(EXAMPLES) == PAGE.count("```toml") == 8


@pytest.mark.parametrize(("title", "text"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_policy_of_the_page_loads_and_lets_its_caller_in(title: str, text: str, tmp_path: Path, store_url) -> None:
    path = tmp_path / "handoff.toml"
    path.write_text(text)
    policy = Policy.load(path)
    Handoff(policy, store_url, URL)

    [grant] = policy.grants
    claims = {condition.claim: condition.expected for condition in grant.conditions}
    assert policy.decide(grant.issuer, claims).grant is grant
    for condition in grant.conditions:
        assert policy.decide(grant.issuer, claims | {condition.claim: "another"}).code == "no-grant-matches"
    assert {condition.claim for condition in grant.conditions if condition.pinned}
