"""The rules about other issuers than Bitbucket: each with leaks, with sound policies, and allowed by a comment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastapi_handoff import Policy
from fastapi_handoff.policy.lint import lint

GITHUB, GITLAB = "https://token.actions.githubusercontent.com", "https://gitlab.com"
OWN, KEYCLOAK = "https://id.acme.dev", "https://id.acme.dev/realms/production"
OWNER = 'repository_owner_id = "9876543"'
REPOSITORY = 'repository_id = "123456789"'
GITHUB_IDS = f"{REPOSITORY}, {OWNER}"
GITLAB_IDS = 'project_id = "20", namespace_id = "72"'
IMMUTABLE_SUBJECT = 'sub = "repo:acme@9876543/api@123456789:ref:refs/heads/main"'
CID = 'cid = "0oa1"'
CLIENT = 'azp = "0oa1"'
DEPLOY, READ = '["deploy"]', '["config:read"]'


def oidc(match: str, issuer: str = OWN, *, expected: str = "", scopes: str = DEPLOY, more: str = "") -> str:
    """Return a policy whose one grant asks for all that its issuer requires."""
    required = ", ".join(f'"{name}"' for name in re.findall(r"(\w+) = ", match))
    return f"""
[[issuers]]
name = "provider"
kind = "oidc"
issuer = "{issuer}"
jwks_uri = "{issuer}/keys"
algorithms = ["RS256"]
required = [{required}]
expected = {{ {expected} }}
source = {required.split(", ")[0]}

[[grants]]
name = "g"
scopes = {scopes}
match = {{ {match} }}
{more}"""


def okta(match: str, *, users: str = "true", scopes: str = DEPLOY, more: str = "") -> str:
    return f"""
[[issuers]]
name = "okta"
kind = "okta"
issuer = "https://acme.okta.com/oauth2/aus1"
users = {users}

[[grants]]
name = "g"
scopes = {scopes}
match = {{ {match} }}
{more}"""


LEAKS = {
    "mutable-name": [
        oidc('repository = "acme/api"', GITHUB),
        oidc('sub = "repo:acme/api:ref:refs/heads/main"', GITHUB),
        oidc('sub = "repo:acme/api@2:ref:refs/heads/main"', GITHUB),
        oidc(f'{GITHUB_IDS}, actor = "octocat"', GITHUB),
        oidc(REPOSITORY.replace("id", "visibility"), GITHUB, expected='repository_owner = "acme"'),
        oidc('project_path = "acme/api", namespace_path = "acme"', GITLAB),
        oidc('sub = "project_path:acme/api:ref_type:branch:ref:main"', GITLAB),
        oidc('email = "deployer@acme.dev"'),
        oidc('sub = "deployer@acme.dev"'),
        oidc('sub = "deployer@acme.dev", preferred_username = "deployer"'),
        oidc('azp = "release-bot"', KEYCLOAK),
        oidc('organization_slug = "acme", pipeline_slug = "api"', "https://agent.buildkite.com"),
    ],
    "shared-issuer-open": [
        oidc('ref = "refs/heads/main"', GITHUB),
        oidc(REPOSITORY, GITHUB),
        oidc(OWNER, GITHUB),
        oidc('ref = "refs/heads/main"', GITHUB, scopes=READ),
        oidc('ref = "refs/heads/main"', GITHUB, expected=OWNER),
        oidc('ref = "main"', GITLAB, expected='ref_protected = "true"'),
        oidc('project_id = "20"', GITLAB, expected='ref_protected = "true"'),
        oidc('organization_id = "o"', "https://agent.buildkite.com"),
    ],
    "any-client": [
        oidc('scp = "handoff.deploy"'),
        oidc('tid = "t", scp = "handoff.deploy"'),
        oidc('scope = "deploy"', expected='gty = "client-credentials"'),
        okta(f'{CID}, scp = "handoff.deploy"'),
        okta(CID),
    ],
}
SOUND = {
    "mutable-name": [
        oidc(f'{GITHUB_IDS}, repository = "acme/api", repository_owner = "acme"', GITHUB),
        oidc(f'{GITHUB_IDS}, actor = "octocat", actor_id = "583231"', GITHUB),
        oidc(f'{GITHUB_IDS}, sub = "repo:acme/api:ref:refs/heads/main"', GITHUB),
        oidc(f'{IMMUTABLE_SUBJECT}, repository = "acme/api"', GITHUB),
        oidc(GITHUB_IDS, GITHUB, expected='repository_owner = "acme"'),
        oidc('sub = "k1L2m3N4@clients"', "https://acme.eu.auth0.com"),
        oidc('sub = "auth0|5f7c8ec7", email = "deployer@acme.dev"', "https://acme.eu.auth0.com"),
        oidc('sub = "3f2504e0-4f89-41d3-9a0c-0305e82c3301", azp = "release-bot"', KEYCLOAK),
        oidc('client_id = "k1L2m3N4"', "https://acme.eu.auth0.com"),
    ],
    "shared-issuer-open": [
        oidc(GITHUB_IDS, GITHUB),
        oidc(REPOSITORY, GITHUB, expected=OWNER),
        oidc(IMMUTABLE_SUBJECT, GITHUB),
        oidc(OWNER, GITHUB, scopes=READ),
        oidc(GITLAB_IDS, GITLAB),
        oidc('project_id = "20"', "https://gitlab.acme.dev"),
        oidc(CLIENT),
    ],
    "any-client": [
        oidc(f'{CLIENT}, scp = "handoff.deploy"'),
        oidc('scp = "handoff.deploy"', expected=CLIENT),
        oidc(GITHUB_IDS, GITHUB),
        okta(f'{CID}, scp = "handoff.deploy"', users="false"),
        okta(f'{CID}, uid = "00u1"'),
        okta(CID, scopes=READ),
    ],
}
PAGE = (Path(__file__).parents[4] / "docs/identities.md").read_text()
NAME = re.compile(r'^name = "(.*)"', re.MULTILINE)
EXAMPLES = [each for each in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "[[grants]]" in each]


def parsed(text: str) -> Policy:
    return Policy.parse(text.encode(), "handoff.toml")


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in LEAKS.items() for text in texts])
def test_leak_is_found_with_a_caller_who_is_let_in_and_a_comment_allows_it(rule: str, text: str) -> None:
    policy = parsed(text)
    findings = [each for each in lint(policy) if each.rule.id == rule]
    assert findings
    for finding in findings:
        assert finding.rule.severity == "error"
        assert finding.witness is not None
        assert policy.decide(policy.issuers[0].name, finding.witness).grant is not None
    allowed = text.replace("[[grants]]", f"# handoff: allow {rule}, because we say so\n[[grants]]")
    assert {each.reason for each in lint(parsed(allowed)) if each.rule.id == rule} == {"we say so"}


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule, texts in SOUND.items() for text in texts])
def test_sound_policy_is_left_alone(rule: str, text: str) -> None:
    assert rule not in {each.rule.id for each in lint(parsed(text))}


@pytest.mark.parametrize("text", EXAMPLES, ids=[NAME.findall(each)[0] for each in EXAMPLES])
def test_example_of_the_identities_page_has_no_finding(text: str) -> None:
    assert [(each.rule.id, each.message) for each in lint(parsed(text))] == []


def test_every_complete_example_of_the_page_is_linted() -> None:
    assert len(EXAMPLES) == PAGE.count("[[grants]]\n") == 8


def test_environment_name_is_left_alone_where_the_issuer_attests_no_environment() -> None:
    assert lint(parsed(oidc(CLIENT, more='environment_name = "production"'))) == []


def test_environment_that_a_provider_attests_is_to_be_asked_for() -> None:
    text = oidc(GITHUB_IDS, GITHUB, more='environment_name = "production"')
    text = text.replace("source =", 'matchable = ["environment"]\nsource =')
    assert [each.rule.id for each in lint(parsed(text))] == ["caller-chosen-claim"]
    assert lint(parsed(text.replace("match = { ", 'match = { environment = "Production", '))) == []


def test_environment_of_another_provider_is_a_name_and_no_id() -> None:
    text = oidc(f'{GITHUB_IDS}, environment = "live"', GITHUB, more='environment_name = "production"')
    other = f'[[grants]]\nname = "h"\nscopes = ["deploy"]\nenvironment_name = "prod"\nmatch = {{ {GITHUB_IDS}, '
    other = other.replace("123456789", "222") + 'environment = "live" }\n'
    assert lint(parsed(f"{text}\n{other}")) == []
