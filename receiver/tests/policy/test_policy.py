"""The policy: what its file may say, what it decides, and the schema that is published of it."""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fastapi_handoff import Policy, PolicyError
from fastapi_handoff.policy import file as policy_file
from fastapi_handoff.policy import patterns as glob
from helpers.provider import ENVIRONMENT_UUID, OTHER_UUID, REPOSITORY_UUID
from helpers.receiver_app import POLICY

CLAIMS = {"repository_uuid": REPOSITORY_UUID, "branch": "main", "environment_uuid": ENVIRONMENT_UUID}


def load(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "handoff.toml"
    path.write_text(text)
    return Policy.load(path)


def grants(tmp_path: Path, *tables: str) -> Policy:
    head = POLICY.split("[[grants]]")[0]
    return load(
        tmp_path, head + "".join(f'[[grants]]\nrepository = "{REPOSITORY_UUID}"\n{table}\n' for table in tables)
    )


def test_first_grant_that_matches_applies_alone(tmp_path: Path) -> None:
    policy = grants(tmp_path, 'name = "a"\nscopes = ["x", "y"]', 'name = "b"\nscopes = ["z"]')

    decision = policy.decide("bitbucket", CLAIMS)
    assert decision.grant is not None
    assert (decision.grant.name, decision.scopes) == ("a", ("x", "y"))
    narrowed = policy.decide("bitbucket", CLAIMS, ["z"])
    assert narrowed.grant is not None
    assert (narrowed.grant.name, narrowed.scopes) == ("b", ("z",))
    assert policy.decide("bitbucket", CLAIMS, ["x", "z"]).code == "scope-not-granted"


def test_refusal_says_for_each_grant_what_was_expected(tmp_path: Path) -> None:
    decision = load(tmp_path, POLICY).decide("bitbucket", {**CLAIMS, "branch": "hotfix"})

    assert decision.code == "no-grant-matches"
    assert [(c.grant, c.check, c.expected, c.got, c.ok) for c in decision.checks] == [
        ("api, production, from main", "repository", REPOSITORY_UUID, REPOSITORY_UUID, True),
        ("api, production, from main", "environment", ENVIRONMENT_UUID, ENVIRONMENT_UUID, True),
        ("api, production, from main", "branch", "main", "hotfix", False),
        ("api, previews", "repository", REPOSITORY_UUID, REPOSITORY_UUID, True),
        ("api, previews", "branch", "feature/*", "hotfix", False),
    ]


def test_own_repositorys_grants_come_first_in_a_refusal(tmp_path: Path) -> None:
    text = POLICY.replace(REPOSITORY_UUID, OTHER_UUID, 1)
    checks = load(tmp_path, text).decide("bitbucket", {**CLAIMS, "branch": "x"}).checks
    assert checks[0].grant == "api, previews"


def test_digest_is_of_the_files_bytes(tmp_path: Path) -> None:
    first, second = load(tmp_path, POLICY), load(tmp_path, POLICY + "\n")
    assert first.digest != second.digest
    assert first.digest.startswith("sha-256:")
    assert len(first.digest) == 8 + 64


def test_policy_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(AttributeError):
        load(tmp_path, POLICY).grants = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('branch = "main"', 'brnach = "main"', ":10: `grants[1].brnach`: is no key of a policy"),
        ('name = "api, previews"', "", ":15: `grants[2].name`: is required"),
        (f'repository = "{REPOSITORY_UUID}"\nenv', "env", ":6: `grants[1].repository`: is required"),
        (REPOSITORY_UUID, "acme/api", ":8: `grants[1].repository`: is not a UUID as Bitbucket writes it, in braces"),
        (REPOSITORY_UUID, REPOSITORY_UUID.strip("{}"), ":8: `grants[1].repository`: is not a UUID"),
        ('branch = "main"', 'branch = "refs/heads/main"', ":10: `grants[1].branch`: is a branch's plain name"),
        ('branch = "main"', 'branch = ["main"]', ":10: `grants[1].branch`: input should be a valid string"),
        ('branch = "main"', 'branch = ""', ":10: `grants[1].branch`: is not a branch's name"),
        ('branch = "main"', 'branch = "release/[0-9]"', ":10: `grants[1].branch`: is not a branch's name"),
        ('scopes = ["previews:write"]', "scopes = []", ":19: `grants[2].scopes`: list should have at least 1 item"),
        ('scopes = ["previews:write"]', 'scopes = ["a b"]', ":19: `grants[2].scopes[1]`: is not text that fits"),
        ('scopes = ["previews:write"]', 'scopes = "a"', ":19: `grants[2].scopes`: input should be a valid list"),
        ('workspace = "acme"', 'workspace = "acme/../evil"', ":3: `bitbucket.workspace`: is not the workspace's slug"),
        ('workspace = "acme"', "workspace = 7", ":3: `bitbucket.workspace`: input should be a valid string"),
        ("[bitbucket]", "[bitbuckets]", ":1: `bitbucket`: is required"),
        (
            '"api, previews"',
            '"api, production, from main"',
            "`grants`: have the name `api, production, from main` twice",
        ),
        ('branch = "main"', "branch = main", ":10: is not TOML"),
        ('branch = "main"', 'branch = "main"\nbranch = "main"', ":11: is not TOML: Cannot overwrite a value"),
        ('branch = "main"', 'branch = "\udcff"', ":10: is not UTF-8"),
    ],
)
def test_mistake_is_named_with_its_line_and_key(tmp_path: Path, before: str, after: str, expected: str) -> None:
    path = tmp_path / "handoff.toml"
    assert before in POLICY
    path.write_bytes(POLICY.replace(before, after, 1).encode("utf-8", "surrogateescape"))

    with pytest.raises(PolicyError) as caught:
        Policy.load(path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        load(tmp_path, POLICY.replace("scopes", "scope"))
    assert len(str(caught.value).splitlines()) == 4


def test_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"missing\.toml: cannot be read: No such file"):
        Policy.load(tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("pattern", "branch", "expected"),
    [
        ("main", "main", True),
        ("main", "main2", False),
        ("main", "xmain", False),
        ("main", "main\n", False),
        ("release/*", "release/1.2", True),
        ("release/*", "release/", True),
        ("release/*", "release/1/evil", False),
        ("release/**", "release/1/2", True),
        ("*", "feature/x", False),
        ("**", "feature/x", True),
        ("**/hotfix", "a/b/hotfix", True),
        ("**/hotfix", "hotfix", False),
        ("v?", "v1", True),
        ("v?", "v", False),
        ("v?", "v/", False),
        ("a.c", "abc", False),
        ("a|main", "main", False),
        ("^main$", "main", False),
        ("a*b*c", "aXbYc", True),
        ("a*b*c", "aXbY", False),
    ],
)
def test_glob_is_matched_whole(pattern: str, branch: str, expected: bool) -> None:
    assert glob.matches(pattern, branch) is expected


def test_published_schema_is_current_and_takes_the_policy() -> None:
    published = files("fastapi_handoff").joinpath("policy/policy.schema.json").read_text()
    assert published == policy_file.schema_text(), "run `fastapi-handoff policy schema > …/policy.schema.json`"
    validator = Draft202012Validator(json.loads(published))
    validator.check_schema(json.loads(published))
    assert validator.is_valid(tomllib.loads(POLICY))
    assert not validator.is_valid(tomllib.loads(POLICY.replace("branch", "brnach")))


async def test_token_of_another_policy_is_void_where_the_present_one_gives_less(receivers, policy_file) -> None:
    """A grant that was taken away is gone at once, not when the last token made under it has died."""
    from helpers.pipe import event, event_id

    old = await receivers()
    token = await old.access_token()
    policy_file.write_text(POLICY.replace('branch = "main"', 'branch = "stable"'))
    less = await receivers()
    policy_file.write_text(POLICY + "# a comment\n")
    same = await receivers()

    refused = await old.pipe.deliver(less.client, token, event(event_id()))
    accepted = await old.pipe.deliver(same.client, token, event(event_id()))

    assert (refused.status_code, refused.json()["code"]) == (401, "token-invalid")
    assert accepted.status_code == 200


def test_what_was_asked_and_attested_is_told_in_bounded_length(tmp_path) -> None:
    policy = grants(tmp_path, *(f'name = "{n}"\nbranch = "*"\nscopes = ["s"]' for n in range(20)))
    long = {**CLAIMS, "branch": "b" * 4000}
    refused = policy.decide("bitbucket", long, ["x" * 1000])
    unmatched = policy.decide("bitbucket", {**long, "repository_uuid": "r" * 4000})
    assert (refused.code, len(refused.checks)) == ("scope-not-granted", 20)
    assert (unmatched.code, len(unmatched.checks)) == ("no-grant-matches", 40)
    told = [check.got for check in (*refused.checks, *unmatched.checks)]
    assert max(map(len, [refused.reason, *told])) < 300
