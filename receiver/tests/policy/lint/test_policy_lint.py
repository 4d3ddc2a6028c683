"""The lint: for each rule a policy that has the leak, one that has not, and one where a comment allows it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fastapi_handoff import Handoff, Policy, PolicyError
from fastapi_handoff.policy.lint import RULES, Knowledge, lint
from fastapi_handoff.policy.patterns import matches
from helpers.policies import API, HEAD, OTHER_WORKSPACE, PRODUCTION, STAGING, TWO_ISSUERS, WEB, WORKSPACE, policy, text

KNOWN = Knowledge(
    needed_scopes={"deploy": ("service.deployed",), "audit:write": ("POST /audit",)},
    used_grants=frozenset({"grant 1"}),
    used_since="the last 90 days",
)
MAIN = 'branch = "main"'
PINNED = f'{MAIN}\nenvironment = "{PRODUCTION}"'


def and_another(*lines: str, repository: str = API, scopes: str = '["deploy"]') -> str:
    """Return what follows a grant: another one."""
    return "\n".join(["", "[[grants]]", 'name = "b"', f'repository = "{repository}"', f"scopes = {scopes}", *lines])


LEAKS = [
    ("any-branch", ["", 'branch = "**"', 'branch = "*"', 'branch = "*/?*"'], [MAIN, 'scopes = ["config:read"]']),
    (
        "loose-glob",
        ['branch = "release*"', 'branch = "**/hotfix"', 'branch = "m?in"', 'branch = "*-prod"', 'branch = "main**"'],
        [MAIN, 'branch = "release/*"', 'branch = "release/v1*"', 'branch = "release-*"', 'branch = "v1.*"'],
    ),
    (
        "environment-not-pinned",
        [PINNED + and_another(MAIN)],
        [PINNED, PINNED + and_another(MAIN, repository=WEB), PINNED + and_another(MAIN, scopes='["sync"]')],
    ),
    (
        "caller-chosen-claim",
        [f'{MAIN}\nenvironment_name = "production"'],
        [f'{MAIN}\nenvironment_name = "production"\nenvironment = "{PRODUCTION}"'],
    ),
    ("foreign-workspace", [f'{MAIN}\nrepository = "{WORKSPACE}"'], [MAIN]),
    (
        "duplicate-id",
        [
            f'{MAIN}\nenvironment = "{API}"',
            f'{PINNED}\nenvironment_name = "production"'
            + and_another('branch = "x"', f'environment = "{PRODUCTION}"', 'environment_name = "prod"'),
        ],
        [PINNED],
    ),
    (
        "wider-sibling",
        [MAIN + and_another('branch = "ma*"', scopes='["deploy", "x"]'), MAIN + and_another(MAIN)],
        [
            MAIN + and_another('branch = "ma*"', scopes='["x"]'),
            # The narrow one comes first, and so its limit holds for whoever it matches.
            f'{MAIN}\nservices = ["api"]' + and_another('branch = "ma*"'),
        ],
    ),
    ("default-audience", [f"{MAIN}\ndefault_audience = true"], [f"{MAIN}\ndefault_audience = false"]),
    ("unused-scope", [f'{MAIN}\nscopes = ["deploy", "sync"]'], [MAIN]),
    ("unused-grant", [f'{MAIN}\nname = "never used"'], [MAIN]),
    ("untested-grant", [MAIN], []),
]


def found(which: Policy) -> set[str]:
    return {finding.rule.id for finding in lint(which, KNOWN, persona="auditor") if not finding.is_suppressed}


@pytest.mark.parametrize(("rule", "grant"), [(rule, grant) for rule, leaks, _ in LEAKS for grant in leaks])
def test_leak_is_found_and_a_comment_with_a_reason_allows_it(rule: str, grant: str) -> None:
    assert rule in found(policy(grant))
    allowed = text(grant).replace("[[grants]]", f"# handoff: allow {rule}, because we say so\n[[grants]]")
    findings = lint(Policy.parse(allowed.encode(), "handoff.toml"), KNOWN, persona="auditor")
    assert {finding.reason for finding in findings if finding.rule.id == rule} == {"we say so"}


@pytest.mark.parametrize(("rule", "grant"), [(rule, grant) for rule, _, sound in LEAKS for grant in sound])
def test_sound_policy_is_left_alone(rule: str, grant: str) -> None:
    assert rule not in found(policy(grant))


def test_scope_that_nobody_holds_is_found() -> None:
    assert "unheld-scope" in found(policy(MAIN))
    assert "unheld-scope" not in found(policy('branch = "main"\nscopes = ["deploy", "audit:write"]'))
    allowed = "# handoff: allow unheld-scope, because it comes with the next release\n\n" + text(MAIN)
    findings = lint(Policy.parse(allowed.encode(), "handoff.toml"), KNOWN)
    assert [each.reason for each in findings if each.rule.id == "unheld-scope"] == ["it comes with the next release"]


def test_grant_that_a_test_touches_is_tested() -> None:
    tests = f'[[tests]]\nname = "t"\nclaims = {{ repository = "{API}", branch = "main" }}\nallow = ["deploy"]'
    assert "untested-grant" not in found(policy(MAIN, tests=tests))


def test_repository_of_two_workspaces_is_found() -> None:
    grants = [MAIN, f'{MAIN}\nissuer = "umbrella"']
    assert "foreign-workspace" in found(policy(*grants, head=TWO_ISSUERS))


def test_two_issuers_of_one_workspace_are_found() -> None:
    assert "duplicate-id" in found(policy(MAIN, head=TWO_ISSUERS.replace(OTHER_WORKSPACE, WORKSPACE)))


@pytest.mark.parametrize("grant", [grant for rule, leaks, _ in LEAKS[:2] for grant in leaks])
def test_witness_of_a_branch_is_let_in_by_the_grant(grant: str) -> None:
    which = policy(grant)
    witnesses = [finding.witness for finding in lint(which) if finding.rule.id in {"any-branch", "loose-glob"}]
    assert witnesses
    for witness in witnesses:
        claims = {"repository_uuid": API, "branch": witness["branch"]}
        assert which.decide("bitbucket", claims).grant is not None
        assert not matches("main", witness["branch"]) or "m?in" in grant


def test_finding_names_its_line() -> None:
    (finding,) = lint(policy(MAIN, 'branch = "release*"'))
    assert finding.line == 1 + text(MAIN, 'branch = "release*"').splitlines().index('branch = "release*"')


@pytest.mark.parametrize(
    "comment",
    [
        "# handoff: allow any-branch",
        "# handoff: allow any-branch, because",
        "# handoff: allow any-branch, because  ",
        "# handoff: allow any-brunch, because we say so",
        "# handoff: allow any-branch and loose-glob, because we say so",
        "# handoff: ignore any-branch, because we say so",
        "# Handoff: allow any-branch, because we say so",
        "# handoff: allow malformed-suppression, because we say so",
    ],
)
def test_comment_that_cannot_be_read_allows_nothing_and_is_told(comment: str) -> None:
    assert found(policy(comment)) >= {"any-branch", "malformed-suppression"}


@pytest.mark.parametrize(
    "line",
    [
        'services = ["# handoff: allow any-branch, because of a string"]',
        'services = ["""\n# handoff: allow any-branch, because of a string"""]',
        "services = ['''\n# handoff: allow any-branch, because of a string''']",
        'services = ["\\"# handoff: allow any-branch, because of a string"]',
    ],
)
def test_string_that_looks_like_a_comment_allows_nothing(line: str) -> None:
    try:
        which = policy(line)
    except PolicyError:
        return  # A name has no line end in it.
    assert "any-branch" in found(which)


def test_comment_is_for_its_own_table_only() -> None:
    comment = "# handoff: allow any-branch, because we say so"
    which = policy(comment, "")
    assert [finding.reason for finding in lint(which) if finding.rule.id == "any-branch"] == ["we say so", None]
    above = Policy.parse(
        text("", "").replace('[[grants]]\nname = "grant 2"', f'{comment}\n[[grants]]\nname = "grant 2"').encode(), "f"
    )
    assert [finding.reason for finding in lint(above) if finding.rule.id == "any-branch"] == [None, "we say so"]


def test_comment_without_its_finding_is_told() -> None:
    assert "unused-suppression" in found(policy(f"{MAIN}\n# handoff: allow any-branch, because we say so"))


def test_grants_as_inline_tables_have_lines_and_comments_too() -> None:
    tables = [f'{{ name = "{name}", repository = "{API}", scopes = ["deploy"] }},' for name in "ab"]
    inline = "\n".join(["grants = [", f"{tables[0]} # handoff: allow any-branch, because x", tables[1], "]", HEAD])
    findings = [each for each in lint(Policy.parse(inline.encode(), "f")) if each.rule.id == "any-branch"]
    assert [(each.line, each.reason) for each in findings] == [(2, "x"), (3, None)]


def test_personas_see_more_and_more() -> None:
    assert {each.rule.id for each in lint(policy(MAIN))} == set()
    assert {each.rule.id for each in lint(policy(MAIN), persona="pedantic")} == {"untested-grant"}


def test_every_rule_is_in_the_docs() -> None:
    page = (Path(__file__).parents[4] / "docs" / "policy-review.md").read_text()
    for rule in RULES:
        assert f'<a id="{rule.id}"></a>' in page
        assert rule.title in page


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    path = tmp_path / "handoff.toml"
    path.write_text(text('branch = "release*"'))
    return path


def test_receiver_refuses_a_policy_with_a_lint_error(leaky: Path) -> None:
    with pytest.raises(PolicyError, match=r"handoff\.toml:9: loose-glob: .*release-by-anyone.*\n.*allow a finding by"):
        Handoff(leaky, "sqlite:///:memory:", "https://api.acme.dev/handoff")


def test_receiver_warns_instead_where_it_is_told_to(leaky: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Handoff(leaky, f"sqlite:///{leaky}.db", "https://api.acme.dev/handoff", lint="warn")
    assert "loose-glob" in caplog.text


def test_receiver_takes_a_finding_that_a_comment_allows(leaky: Path) -> None:
    leaky.write_text(leaky.read_text() + "# handoff: allow loose-glob, because release- names are protected\n")
    Handoff(leaky, f"sqlite:///{leaky}.db", "https://api.acme.dev/handoff")


def test_receiver_refuses_a_policy_whose_test_fails(leaky: Path) -> None:
    tests = f'[[tests]]\nname = "t"\nclaims = {{ repository = "{API}", branch = "main" }}\ndeny = ["deploy"]\n'
    leaky.write_text(text(MAIN, tests=tests))
    with pytest.raises(PolicyError, match=r"test `t` fails: `deploy` is expected to be refused, and grant `grant 1`"):
        Handoff(leaky, "sqlite:///:memory:", "https://api.acme.dev/handoff")
    with pytest.raises(PolicyError, match="test `t` fails"):
        Policy.load(leaky)


def test_level_that_is_none_is_refused(leaky: Path) -> None:
    with pytest.raises(ValueError, match="`lint` is `error` or `warn`"):
        Handoff(leaky, "sqlite:///:memory:", "https://api.acme.dev/handoff", lint="off")  # type: ignore[arg-type]


def test_staging_and_production_side_by_side_are_sound() -> None:
    grants = [f'{MAIN}\nenvironment = "{each}"' for each in (STAGING, PRODUCTION)]
    assert [each.rule.id for each in lint(policy(*grants))] == []
