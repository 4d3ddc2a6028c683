"""A policy with a mistake in an issuer, or between an issuer and a grant, does not load, and names its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastapi_handoff import Policy, PolicyError
from helpers.other_issuers import policy

SERVER = "https://id.example"


def load(tmp_path: Path, old: str, new: str) -> tuple[str, int]:
    """The mistakes of the policy with `old` replaced, and the line where `new` begins."""
    text = policy(SERVER)
    assert text.count(old) == 1, text.count(old)
    path = tmp_path / "handoff.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(PolicyError) as caught:
        Policy.load(path)
    return str(caught.value).removeprefix(str(path)), text[: text.index(old)].count("\n") + 1


def test_policy_of_the_tests_loads(tmp_path: Path) -> None:
    path = tmp_path / "handoff.toml"
    path.write_text(policy(SERVER))
    assert [issuer.kind for issuer in Policy.load(path).issuers] == ["bitbucket", "okta", "aws", "oidc"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'kind = "okta"',
            'kind = "octa"',
            "`issuers[1].kind`: is no kind of issuer: expected one of `bitbucket`",
        ),
        (
            "https://id.example/aws",
            "https://id.example/oauth2/aus1",
            "`issuers[2].issuer`: is the same one as that of `okta`",
        ),
        ('kind = "okta"', 'kinds = "okta"', "`issuers[1].kind`: is required"),
        ("/oauth2/aus1", "", "`issuers[1].issuer`: is no custom authorization server's issuer URI"),
        ("/oauth2/aus1", "/oauth2/", "`issuers[1].issuer`: is no custom"),
        ("/oauth2/aus1", "/oauth2/aus1/v1", "`issuers[1].issuer`: is no custom"),
        ("https://id.example/aws", "http://id.example/aws", "`issuers[2].issuer`: this URL must be `https`"),
        ("https://id.example/aws", "https://id.example/aws?x=1", "`issuers[2].issuer`: is not an absolute URL"),
        ("https://id.example/oidc/keys", "keys", "`issuers[3].jwks_uri`: is not an absolute URL"),
        ('algorithms = ["RS256"]', "algorithms = []", "`issuers[3].algorithms`: list should have at least 1 item"),
        ('algorithms = ["RS256"]', 'algorithms = ["HS256"]', "`issuers[3].algorithms[1]`: input should be 'RS256'"),
        ('algorithms = ["RS256"]', 'algorithms = ["none"]', "`issuers[3].algorithms[1]`: input should be 'RS256'"),
        ('required = ["repository_id", ', "required = [] #", "`issuers[3].required`: list should have at least 1 item"),
        ('source = "repository_id"', "", "`issuers[3].source`: is required"),
        ('source = "repository_id"', 'source = "ref"', "`issuers[3].source`: is not in `required`"),
        ('"event_name", "ref"', '"event_name", "grant"', "`issuers[3].matchable`: cannot have `grant`: records have"),
        ('"event_name", "ref"', '"event_name", "aud"', "`issuers[3].matchable`: cannot have `aud`: it is compared by"),
        ('"event_name", "ref"', '"ref", "ref"', "`issuers[3].matchable`: have `ref` twice"),
        (
            '"event_name", "ref"',
            '"repository_id"',
            "`issuers[3].matchable`: has `repository_id`, which is in",
        ),
        ('jti = "jti"', 'typ = "dpop+jwt"', "`issuers[3].typ`: is of tokens that say nothing about a caller"),
        ('jti = "jti"', 'mode = "warn"', "`issuers[3].mode`: input should be 'enforce', 'audit' or 'off'"),
        ('jti = "jti"', "users = true", "`issuers[3].users`: is no key of a policy"),
        ("max_lifetime = 900", "max_lifetime = 0", "`issuers[3].max_lifetime`: input should be greater than"),
        ('cid = "0oa1", ', "", "`grants[3].match.cid`: is required"),
        ('aws_account = "123456789012", ', "", "`grants[4].match.aws_account`: is required"),
        ('sub = "arn:aws:iam::123456789012:role/deployer", ', "", "`grants[4].match.sub`: is required"),
        ('"123456789012"', '"1234"', "`grants[4].match.aws_account`: is not an AWS account's id"),
        (":role/deployer", ":role/*", "`grants[4].match.sub`: is not a role's ARN"),
        (":role/deployer", ":user/jane", "`grants[4].match.sub`: is not a role's ARN"),
        (
            '"principal_tags.team"',
            '"principal_tags.cost"',
            "`grants[4].match.principal_tags.cost`: is nothing that a `aws` issuer",
        ),
        (
            '"principal_tags.team"',
            '"request_tags.team"',
            "`grants[4].match.request_tags.team`: is nothing that a `aws` issuer",
        ),
        ('repository_id = "42", ', "", "`grants[5].match.repository_id`: is required"),
        (
            'repository_owner_id = "7"',
            'actor = "7"',
            "`grants[5].match.actor`: is nothing that a `oidc` issuer",
        ),
        (
            'repository_id = "42"',
            "repository_id = 42",
            "`grants[5].match.repository_id`: input should be a",
        ),
        (
            'issuer = "ci"\n',
            'branch = "main"\nissuer = "ci"\n',
            "`grants[5].branch`: is a key of Bitbucket's grants: one of a `oidc` issuer has `match`",
        ),
        (
            'issuer = "ci"\n',
            'default_audience = true\nissuer = "ci"\n',
            "`grants[5].default_audience`: is about Bitbucket's tokens",
        ),
    ],
)
def test_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    mistakes, line = load(tmp_path, old, new)
    found = next((mistake for mistake in mistakes.splitlines() if expected in mistake), None)
    assert found is not None, mistakes
    # A key that is missing has no line of its own: the one of its table.
    is_absent = "issuers" in expected and "is required" in expected
    assert int(found.split(":")[1]) == (header_above(policy(SERVER), line) if is_absent else line), found


def header_above(text: str, line: int) -> int:
    lines = text.splitlines()
    return next(number for number in range(line, 0, -1) if lines[number - 1].startswith("[["))
