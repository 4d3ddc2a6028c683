"""The `[[tests]]` of a policy: what they may say, and what becomes of one that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastapi_handoff import Policy, PolicyError
from fastapi_handoff.policy import cases
from helpers.policies import API, HEAD, PRODUCTION, TWO_ISSUERS, policy, text

CLAIMS = f'claims = {{ repository = "{API}", branch = "main" }}'


def results(test: str) -> list[tuple[str, ...]]:
    return [result.failures for result in cases.run(policy('branch = "main"\nscopes = ["a", "b"]', tests=test))]


def test_each_scope_is_asked_for_by_itself() -> None:
    (failures,) = results(f'[[tests]]\nname = "t"\n{CLAIMS}\nallow = ["a", "c", "b"]\ndeny = ["d", "b"]')
    assert len(failures) == 2
    assert failures[0].startswith("`c` is expected to be granted, and is refused: no single matching grant gives `c`")
    assert failures[1] == "`b` is expected to be refused, and grant `grant 1` gives it"


def test_claim_that_is_left_out_is_absent() -> None:
    (failures,) = results(f'[[tests]]\nname = "t"\nclaims = {{ repository = "{API}" }}\ndeny = ["a", "b"]')
    assert failures == ()


def test_test_is_about_the_issuer_that_it_names() -> None:
    test = f'[[tests]]\nname = "t"\nissuer = "umbrella"\n{CLAIMS}\ndeny = ["deploy"]'
    (result,) = cases.run(policy('branch = "main"', head=TWO_ISSUERS, tests=test))
    assert result.passed


def test_failed_test_is_named_with_its_line_when_the_policy_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "handoff.toml"
    path.write_text(text('branch = "main"', tests=f'[[tests]]\nname = "t"\n{CLAIMS}\nallow = ["x"]'))
    line = path.read_text().splitlines().index("[[tests]]") + 1
    with pytest.raises(PolicyError, match=rf"^{path}:{line}: test `t` fails: `x` is expected to be granted"):
        Policy.load(path)


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (f"{CLAIMS}", "`tests[1].allow`: or `deny` is required: a test that asks for nothing cannot fail"),
        ('claims = { branch = "main" }\nallow = ["a"]', "`tests[1].claims.repository`: is required"),
        ('claims = { repository = "acme/api" }\nallow = ["a"]', "`tests[1].claims.repository`: is not a UUID"),
        (
            f'claims = {{ repository = "{API}", branch = "release/*" }}\nallow = ["a"]',
            "`tests[1].claims.branch`: is what one",
        ),
        (f'claims = {{ repository = "{API}", sub = "x" }}\nallow = ["a"]', "`tests[1].claims.sub`: is nothing that a"),
        (f'{CLAIMS}\nissuer = "okta"\nallow = ["a"]', "`tests[1].issuer`: is no issuer of this policy"),
        (f'{CLAIMS}\nalow = ["a"]', "`tests[1].alow`: is no key of a policy"),
        (
            f'{CLAIMS}\nallow = ["a"]\n[[tests]]\nname = "t"\n{CLAIMS}\nallow = ["a"]',
            "`tests`: have the name `t` twice",
        ),
        ('allow = ["a"]', "`tests[1].claims`: is required"),
    ],
)
def test_mistake_in_a_test_is_named(test: str, expected: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy('branch = "main"', tests=f'[[tests]]\nname = "t"\n{test}')
    assert expected in str(caught.value)


def test_environment_of_a_test_is_a_uuid_as_in_a_grant() -> None:
    claims = f'claims = {{ repository = "{API}", branch = "main", environment = "{PRODUCTION}" }}'
    test = f'[[tests]]\nname = "t"\n{claims}\nallow = ["deploy"]'
    (result,) = cases.run(policy(f'branch = "main"\nenvironment = "{PRODUCTION}"', tests=test))
    assert result.passed


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("audit", "grant `grant 1` would give `deploy`, but the issuer `bitbucket` is on trial"),
        ("off", "the issuer `bitbucket` is off"),
    ],
)
def test_issuer_that_is_not_enforced_gives_nothing(mode: str, said: str) -> None:
    test = f'[[tests]]\nname = "t"\n{CLAIMS}\nallow = ["deploy"]\n'
    test += test.replace("allow", "deny").replace('"t"', '"u"')
    (allow, deny) = cases.run(policy('branch = "main"', head=f'{HEAD}mode = "{mode}"\n', tests=test))
    assert allow.failures[0].startswith(f"`deploy` is expected to be granted, and is refused: {said}")
    assert deny.passed
    (allow, deny) = cases.run(policy('branch = "main"', head=f'{HEAD}mode = "enforce"\n', tests=test))
    assert (allow.passed, deny.passed) == (True, False)
