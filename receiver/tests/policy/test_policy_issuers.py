"""Issuers in the policy: the short form, the long one, and grants that ask for what a kind of issuer attests."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastapi_handoff import Policy, PolicyError
from helpers.provider import ENVIRONMENT_UUID, OTHER_UUID, REPOSITORY_UUID, WORKSPACE_UUID

SECOND_WORKSPACE = "{77777777-7777-4777-8777-777777777777}"
HEAD = f"""
[bitbucket]
workspace = "acme"
workspace_uuid = "{WORKSPACE_UUID}"

[[issuers]]
name = "subsidiary"
kind = "bitbucket"
workspace = "umbrella"
workspace_uuid = "{SECOND_WORKSPACE}"
"""
CLAIMS = {"repository_uuid": REPOSITORY_UUID, "branch": "main", "environment_uuid": ENVIRONMENT_UUID}


def load(tmp_path: Path, *grants: str, head: str = HEAD) -> Policy:
    path = tmp_path / "handoff.toml"
    path.write_text(head + "".join(f'\n[[grants]]\nscopes = ["s"]\n{grant}\n' for grant in grants))
    return Policy.load(path)


def test_grant_without_issuer_is_for_the_first_one_only(tmp_path: Path) -> None:
    policy = load(tmp_path, f'name = "a"\nrepository = "{REPOSITORY_UUID}"')
    assert policy.decide("bitbucket", CLAIMS).code is None
    assert policy.decide("subsidiary", CLAIMS).code == "no-grant-matches"


def test_grant_of_one_issuer_gives_nothing_to_the_same_claims_of_another(tmp_path: Path) -> None:
    policy = load(tmp_path, f'name = "a"\nissuer = "subsidiary"\nrepository = "{REPOSITORY_UUID}"')
    assert policy.decide("subsidiary", CLAIMS).code is None
    refused = policy.decide("bitbucket", CLAIMS)
    assert (refused.code, refused.checks) == ("no-grant-matches", ())


def test_match_asks_the_same_as_the_short_keys(tmp_path: Path) -> None:
    policy = load(
        tmp_path,
        f'name = "short"\nrepository = "{REPOSITORY_UUID}"\nbranch = "release/*"',
        f'name = "long"\nmatch = {{ repository = "{REPOSITORY_UUID}", branch = "release/*" }}',
    )
    short, long = policy.grants
    assert short.conditions == long.conditions
    assert not short.matches("bitbucket", {**CLAIMS, "branch": "release/1/2"})
    assert short.matches("bitbucket", {**CLAIMS, "branch": "release/1"})


def test_issuers_alone_are_a_policy(tmp_path: Path) -> None:
    head = HEAD[HEAD.index("[[issuers]]") :]
    policy = load(tmp_path, f'name = "a"\nrepository = "{REPOSITORY_UUID}"', head=head)
    assert policy.decide("subsidiary", CLAIMS).code is None


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        (f'issuer = "okta"\nrepository = "{REPOSITORY_UUID}"', ":15: `grants[1].issuer`: is no issuer of this policy"),
        ('branch = "main"', ":12: `grants[1].repository`: is required"),
        ('match = { branch = "main" }', ":12: `grants[1].repository`: is required"),
        (
            f'match = {{ repository = "{REPOSITORY_UUID}", sub = "x" }}',
            ":15: `grants[1].match.sub`: is nothing that a `bitbucket` issuer attests: "
            "expected one of `repository`, `branch`, `environment`",
        ),
        (
            f'repository = "{REPOSITORY_UUID}"\nmatch = {{ repository = "{OTHER_UUID}" }}',
            ":16: `grants[1].match.repository`: is given twice: once as `repository`",
        ),
        ('match = { repository = "acme/api" }', ":15: `grants[1].match.repository`: is not a UUID as Bitbucket writes"),
        (
            f'match = {{ repository = "{REPOSITORY_UUID}", branch = "refs/heads/main" }}',
            ":15: `grants[1].match.branch`: is a branch's plain name",
        ),
        ("match = { repository = 7 }", ":15: `grants[1].match.repository`: input should be a valid string"),
    ],
)
def test_mistake_between_grant_and_issuer_is_named_with_its_line(tmp_path: Path, grant: str, expected: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, f'name = "a"\n{grant}')
    assert expected in str(caught.value)


def test_two_issuers_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r":7: `issuers\[1\]\.name`: `bitbucket` is the name of two issuers"):
        load(
            tmp_path,
            f'name = "a"\nrepository = "{REPOSITORY_UUID}"',
            head=HEAD.replace('"subsidiary"', '"bitbucket"'),
        )


def test_unknown_kind_of_issuer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r":8: `issuers\[1\]\.kind`: "):
        load(tmp_path, f'name = "a"\nrepository = "{REPOSITORY_UUID}"', head=HEAD.replace('kind = "b', 'kind = "g'))


def test_name_of_an_issuer_that_could_forge_a_line_of_a_log_is_refused(tmp_path: Path) -> None:
    head = HEAD.replace('workspace = "acme"', 'name = "a\\nb"\nworkspace = "acme"', 1)
    with pytest.raises(PolicyError, match=r"`bitbucket\.name`"):
        load(tmp_path, f'name = "a"\nrepository = "{REPOSITORY_UUID}"', head=head)
