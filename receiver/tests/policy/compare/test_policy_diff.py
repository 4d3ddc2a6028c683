"""Who gains what between two policies: exactly, with a witness that the receiver's own decision confirms."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterable

import pytest
import z3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastapi_handoff import Policy, PolicyError
from fastapi_handoff.policy.compare.access import Event
from fastapi_handoff.policy.compare.diff import compare
from fastapi_handoff.policy.compare.walk import Budget, texts
from fastapi_handoff.policy.patterns import matches, tokens_of
from helpers.policies import API, HEAD, PRODUCTION, STAGING, TWO_ISSUERS, WEB, WORKSPACE, policy


def branches(*names: str) -> Policy:
    return policy(*(f'branch = "{name}"' for name in names))


def gained(base: Policy | None, head: Policy) -> list[tuple[str, str | None]]:
    """Return grant and branch of each gain; every witness is fed to both policies."""
    found = compare(base, head)
    for change in found.gains:
        witness = change.witness
        event = Event(witness.service or "-", witness.environment_name or "-")
        for scope in change.scopes:
            assert has_access(head, witness.issuer, witness.claims, scope, event if witness.service else None)
            if base is not None:
                assert not has_access(base, witness.issuer, witness.claims, scope, event if witness.service else None)
    return [(change.grant, change.witness.claims.get("branch")) for change in found.gains]


def has_access(policy: Policy, issuer: str, claims, scope: str, event: Event | None) -> bool:
    """Ask the receiver's decision for every set of scopes that a caller could ask for."""
    if event is None:
        return policy.decide(issuer, claims, [scope]).grant is not None
    scopes = sorted({each for grant in policy.grants for each in grant.scopes} - {scope})
    for count in range(len(scopes) + 1):
        for more in itertools.combinations(scopes, count):
            grant = policy.decide(issuer, claims, [scope, *more]).grant
            if grant is not None and event.is_let_through(grant):
                return True
    # Nothing asked for: all that the first matching grant gives.
    grant = policy.decide(issuer, claims).grant
    return grant is not None and scope in grant.scopes and event.is_let_through(grant)


@pytest.mark.parametrize(
    ("base", "head", "witness"),
    [
        (["release/1.*"], ["release/*"], "release/x"),
        (["hotfix/a*", "hotfix/b*"], ["hotfix/*"], "hotfix/y"),
        (["main"], ["main*"], "mainx"),
        (["main"], ["m?in"], "mxin"),
        (["main", "master"], ["ma*"], "ma"),
        (["*"], ["**"], "x/x"),
        (["release/*"], ["release/**"], "release/x/x"),
        (["**"], ["*"], None),
        (["*", "*/**"], ["**"], None),
        (["release/*"], ["release/1.*", "release/2"], None),
        (["a*b*"], ["ab*", "axb"], None),
        # Only what Git refuses as a name is gained; the receiver would take it, so it is told.
        (["release/?*"], ["release/*"], "release/"),
        # After `/`, `**?` is where it began, and yet something was read.
        (["**?"], ["**"], "/"),
    ],
)
def test_globs_are_compared_with_the_shortest_witness(base: list[str], head: list[str], witness: str | None) -> None:
    assert [branch for _, branch in gained(branches(*base), branches(*head))] == ([] if witness is None else [witness])


def test_grant_without_a_branch_lets_in_what_has_none() -> None:
    assert gained(branches("**"), policy("")) == [("grant 1", None)]
    assert gained(branches("main"), policy("")) == [("grant 1", "x")]


def test_new_grant_is_held_against_all_old_ones_together() -> None:
    old = policy('branch = "main"\nscopes = ["a"]', 'branch = "main"\nscopes = ["b"]', 'branch = "x"\nscopes = ["c"]')
    assert gained(old, policy('branch = "main"\nscopes = ["a", "b"]')) == []
    found = compare(old, policy('branch = "main"\nscopes = ["a", "b", "c"]'))
    assert [change.scopes for change in found.gains] == [("c",)]


def test_rename_split_and_order_are_no_change_of_access() -> None:
    base = policy('name = "all"\nbranch = "release/*"\nscopes = ["a", "b"]')
    head = policy(
        'name = "b"\nbranch = "release/*"\nscopes = ["b"]', 'name = "a"\nbranch = "release/*"\nscopes = ["a"]'
    )
    found = compare(base, head)
    assert (found.gains, found.losses, found.unchanged) == ((), (), ())


def test_dropped_environment_is_a_gain_of_steps_without_one() -> None:
    base = policy(f'branch = "main"\nenvironment = "{PRODUCTION}"')
    (change,) = compare(base, policy('branch = "main"')).gains
    assert change.witness.claims == {"repository_uuid": API, "branch": "main"}


def test_swapped_environment_is_a_gain_and_a_loss() -> None:
    base, head = (policy(f'branch = "main"\nenvironment = "{each}"') for each in (STAGING, PRODUCTION))
    found = compare(base, head)
    assert [each.witness.claims["environment_uuid"] for each in (*found.gains, *found.losses)] == [PRODUCTION, STAGING]


def test_limit_of_services_that_is_widened_is_a_gain_of_events() -> None:
    base, head = policy('branch = "main"\nservices = ["api"]'), policy('branch = "main"\nservices = ["api", "worker"]')
    (change,) = compare(base, head).gains
    assert change.witness.service == "worker"
    assert gained(head, base) == []
    (change,) = compare(base, policy('branch = "main"')).gains
    assert change.witness.service not in {None, "api"}


def test_removed_grant_that_kept_a_wider_one_out_of_reach_is_a_gain() -> None:
    """No grant is added or widened here, and yet events about any service are let in."""
    narrow, wide = 'name = "narrow"\nbranch = "main"\nservices = ["api"]', 'name = "wide"\nbranch = "main"'
    assert gained(policy(narrow, wide), policy(wide)) == [("wide", "main")]
    assert gained(policy(narrow, wide), policy(wide, narrow)) == [("wide", "main")]
    assert gained(policy(wide), policy(narrow, wide)) == []


def test_issuer_is_what_it_trusts_and_not_its_name() -> None:
    grant = 'branch = "main"\nissuer = "{}"'
    base = policy(grant.format("umbrella"), head=TWO_ISSUERS)
    renamed = policy(grant.format("u"), head=TWO_ISSUERS.replace('name = "umbrella"', 'name = "u"'))
    assert compare(base, renamed).gains == ()
    taken = policy(grant.format("umbrella"), head=TWO_ISSUERS.replace("77777777-7", "88888888-7"))
    found = compare(base, taken)
    assert [change.grant for change in found.gains] == ["grant 1"]
    assert (found.new_issuers, found.dropped_issuers) == (("umbrella",), ("umbrella",))
    assert gained(base, policy(grant.format("bitbucket"), head=TWO_ISSUERS)) == [("grant 1", "main")]


def test_first_policy_gains_all_that_it_gives() -> None:
    assert gained(None, branches("main", "release/*")) == [("grant 1", "main"), ("grant 2", "release/x")]


def test_unchanged_grants_are_named() -> None:
    found = compare(branches("main"), branches("main", "release/*"))
    assert found.unchanged == ("grant 1",)


def many(branch: str) -> Policy:
    return policy(
        *(f'repository = "{API[:-4]}{n:03d}}}"\nbranch = "{branch}"\nscopes = ["a", "b"]' for n in range(200))
    )


def test_two_hundred_grants_are_compared_in_a_second() -> None:
    base, head = many("main"), many("release/*")
    started = time.process_time()
    assert len(compare(base, head).gains) == 200
    assert time.process_time() - started < 1


def test_globs_that_are_made_to_be_slow_are_refused_in_bounded_time() -> None:
    # The product of "the letter `n` places before the end" needs two to the `n` states.
    names = "abcdefghijklmnopqrst"
    base = branches(*(f"*{name}{'?' * number}" for number, name in enumerate(names)))
    started = time.process_time()
    with pytest.raises(PolicyError, match="too entangled to be compared exactly in bounded time"):
        compare(base, branches("*" + "?" * 25 + "*a*"))
    assert time.process_time() - started < 20


PATTERNS = st.lists(st.sampled_from(["a", "b", "/", "*", "**", "?", "."]), min_size=1, max_size=6).map("".join)
LIMITS = st.sampled_from(["", 'services = ["api"]', 'services = ["api", "web"]', 'environment_name = "prod"'])
GRANTS = st.tuples(
    st.one_of(st.none(), PATTERNS),
    st.sampled_from([None, PRODUCTION, STAGING]),
    st.sets(st.sampled_from(["r", "w"]), min_size=1),
    LIMITS,
    st.sampled_from([API, API, API, WEB]),
)


def made(grants: Iterable[tuple[str | None, str | None, set[str], str, str]]) -> Policy:
    return policy(
        *(
            "\n".join(
                [
                    *([] if branch is None else [f'branch = "{branch}"']),
                    *([] if environment is None else [f'environment = "{environment}"']),
                    f"scopes = {sorted(scopes)}",
                    limit,
                    f'repository = "{repository}"',
                ]
            )
            for branch, environment, scopes, limit, repository in grants
        )
    )


CALLERS = [
    {"repository_uuid": repository} | ({"branch": branch} if branch else {}) | ({"environment_uuid": e} if e else {})
    for repository in (API, WEB)
    for branch in ("", *("".join(each) for n in (1, 2, 3) for each in itertools.product("ab/.x", repeat=n)))
    for e in (None, PRODUCTION, STAGING, WORKSPACE)
]
EVENTS = [Event(service, environment) for service in ("api", "web", "x") for environment in ("prod", "x")]


def reachable(policy: Policy, claims) -> set[tuple[str, Event]]:
    """Return what a caller has, by the receiver's decision about every set of scopes it could ask for."""
    asked = [[], ["r"], ["w"], ["r", "w"]]
    got = [policy.decide("bitbucket", claims, scopes) for scopes in asked]
    return {
        (scope, event)
        for decision in got
        if decision.grant is not None
        for scope in decision.scopes
        for event in EVENTS
        if event.is_let_through(decision.grant)
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(GRANTS, min_size=1, max_size=4), st.lists(GRANTS, min_size=1, max_size=4), st.randoms())
def test_nothing_is_gained_exactly_where_no_sampled_caller_gains(base_grants, head_grants, chance) -> None:
    base, head = made(base_grants), made(head_grants)
    gains = gained(base, head)
    callers = CALLERS if gains == [] else []
    for claims in chance.sample(callers, min(len(callers), 300)):
        assert reachable(head, claims) <= reachable(base, claims), claims


def regex_of(pattern: str) -> z3.ReRef:
    """Return a glob as a regular expression of z3's, made from what the documentation says and not from our walk."""
    anything = z3.AllChar(z3.ReSort(z3.StringSort()))
    segment = z3.Intersect(anything, z3.Complement(z3.Re("/")))
    parts = {"**": z3.Star(anything), "*": z3.Star(segment), "?": segment}
    rows = [parts.get(token) if token in parts else z3.Re(token) for token in tokens_of(pattern)]
    return rows[0] if len(rows) == 1 else z3.Concat(*rows)


@settings(max_examples=60, deadline=None)
@given(st.lists(PATTERNS, min_size=1, max_size=3), PATTERNS)
def test_solver_agrees_on_whether_a_glob_says_more_than_others_together(old: list[str], new: str) -> None:
    branch, solver = z3.String("branch"), z3.Solver()
    solver.set("timeout", 2000)
    solver.add(z3.Length(branch) > 0, z3.InRe(branch, regex_of(new)))
    for pattern in old:
        solver.add(z3.Not(z3.InRe(branch, regex_of(pattern))))
    answer = solver.check()
    found = gained(branches(*old), branches(new))
    if answer != z3.unknown:
        assert bool(found) == (answer == z3.sat)


@settings(max_examples=60, deadline=None)
@given(st.lists(PATTERNS, min_size=1, max_size=4))
def test_walk_finds_every_answer_that_a_text_can_have(patterns: list[str]) -> None:
    found = {tuple(matches(each, name) for each in patterns) for name in texts(patterns, Budget())}
    for length in (1, 2, 3):
        for characters in itertools.product("ab/.x", repeat=length):
            assert tuple(matches(each, "".join(characters)) for each in patterns) in found


def test_witness_is_a_name_that_git_allows_where_there_is_one() -> None:
    for pattern in ("**", "release/*", "*/x", "a.*", "?*", "**.lock*", "*@*", "..*"):
        name = next(texts([], Budget(), must_fit=pattern))
        is_allowed = subprocess.run(["git", "check-ref-format", f"refs/heads/{name}"], check=False).returncode == 0
        assert is_allowed == (pattern != "..*"), name


OKTA = """
[[issuers]]
name = "okta"
kind = "okta"
issuer = "https://acme.okta.com/oauth2/aus1"
audience = "https://api.acme.dev/handoff"
mode = "enforce"
"""


def okta(*matches: str, head: str = OKTA) -> Policy:
    tables = [
        f'[[grants]]\nname = "g{n}"\nissuer = "okta"\nscopes = ["a"]\nmatch = {{ cid = "0oa1", {each} }}\n'
        for n, each in enumerate(matches)
    ]
    return Policy.parse((HEAD + head + "\n".join(tables)).encode(), "handoff.toml")


def test_list_of_words_is_wider_the_fewer_words_it_asks_for() -> None:
    base, head = okta('scp = "read write"'), okta('scp = "write"')
    (change,) = compare(base, head).gains
    assert change.witness.claims == {"cid": "0oa1", "scp": "write"}
    assert compare(head, base).gains == ()
    assert compare(okta('scp = "a b"', 'scp = "b"'), okta('scp = "b a"')).gains == ()


def test_issuer_that_is_enforced_from_now_on_is_a_gain() -> None:
    base, head = okta('scp = "a"', head=OKTA.replace("enforce", "audit")), okta('scp = "a"')
    assert [change.grant for change in compare(base, head).gains] == ["g0"]
    assert [change.grant for change in compare(head, base).losses] == ["g0"]
    assert compare(base, head).new_issuers == ()


def test_default_audience_is_a_gain_of_tokens_that_others_could_use() -> None:
    base, head = policy('branch = "main"'), policy('branch = "main"\ndefault_audience = true')
    (change,) = compare(base, head).gains
    claims = change.witness.claims
    assert change.witness.default_audience
    assert head.decide("bitbucket", claims, ["deploy"], default_audience=True).grant is not None
    assert base.decide("bitbucket", claims, ["deploy"], default_audience=True).grant is None
    assert compare(head, base).gains == ()
