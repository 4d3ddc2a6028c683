"""The stand-in keeps Bitbucket's rules, so that a test against it means something."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from support.bitbucket_standin import (
    API,
    PRODUCTION,
    BitbucketStandin,
    Fault,
    Principal,
    RecordedRequest,
    SigningKey,
    Step,
)
from support.judges import official_openapi
from support.scenes import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STATUS = {"type": "build", "key": "deploy-api", "state": "INPROGRESS", "url": "https://acme.dev/1", "name": "Deploy"}
REPORT = {"title": "Handoff", "details": "api to production", "report_type": "TEST", "result": "PASSED"}
BEARER = {"Authorization": "Bearer the-access-token"}


@pytest.fixture
def standin() -> Iterator[BitbucketStandin]:
    with BitbucketStandin() as standin:
        standin.credentials.access_tokens["the-access-token"] = Principal("pipe")
        yield standin


def statuses_url(standin: BitbucketStandin, repository: str = "acme/api", commit: str = COMMIT) -> str:
    return f"{standin.api_url}/2.0/repositories/{repository}/commit/{commit}/statuses/build"


def report_path(report: str = "handoff") -> str:
    return f"http://api.bitbucket.org/2.0/repositories/acme/api/commit/{COMMIT}/reports/{report}"


def decoded(token: str, part: int) -> dict[str, Any]:
    text = token.split(".")[part]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return claims


def verified(token: str, jwk: dict[str, str]) -> bool:
    def number(text: str) -> int:
        return int.from_bytes(base64.urlsafe_b64decode(text + "=="), "big")

    signing_input, _, signature = token.rpartition(".")
    key = rsa.RSAPublicNumbers(number(jwk["e"]), number(jwk["n"])).public_key()
    try:
        key.verify(
            base64.urlsafe_b64decode(signature + "=="), signing_input.encode(), padding.PKCS1v15(), hashes.SHA256()
        )
    except InvalidSignature:
        return False
    return True


# Step tokens


def test_the_default_audience_is_a_string_and_a_custom_one_is_an_array(standin: BitbucketStandin) -> None:
    step = Step(standin.workspace, API)
    provider = standin.identity_provider
    default = decoded(provider.step_token(step), 1)["aud"]
    custom = decoded(provider.step_token(step, audiences=["https://api.acme.dev/handoff"]), 1)["aud"]
    assert default == "ari:cloud:bitbucket::workspace/" + standin.workspace.uuid.strip("{}")
    assert custom == ["https://api.acme.dev/handoff"]


def test_a_deployment_step_names_its_environment_in_subject_and_claims(standin: BitbucketStandin) -> None:
    step = Step(standin.workspace, API, environment=PRODUCTION)
    claims = decoded(standin.identity_provider.step_token(step), 1)
    assert claims["sub"] == f"{API.uuid}:{PRODUCTION.uuid}:{step.step_uuid}"
    assert claims["deploymentEnvironmentUuid"] == PRODUCTION.uuid


def test_a_step_without_deployment_has_no_environment(standin: BitbucketStandin) -> None:
    step = Step(standin.workspace, API)
    claims = decoded(standin.identity_provider.step_token(step), 1)
    assert claims["sub"] == f"{API.uuid}:{step.step_uuid}"
    assert "deploymentEnvironmentUuid" not in claims


def test_a_tag_build_has_no_branch(standin: BitbucketStandin) -> None:
    step = Step(standin.workspace, API, branch=None, tag="v1.0.0")
    assert "branchName" not in decoded(standin.identity_provider.step_token(step), 1)
    assert "BITBUCKET_BRANCH" not in step.variables()
    assert step.variables()["BITBUCKET_TAG"] == "v1.0.0"


def test_a_step_token_lacks_what_bitbucket_leaves_out_and_lives_an_hour(standin: BitbucketStandin) -> None:
    claims = decoded(standin.identity_provider.step_token(Step(standin.workspace, API)), 1)
    assert not {"jti", "nbf", "commit"} & set(claims)
    assert claims["exp"] - claims["iat"] == 3600


def test_a_published_key_verifies_the_step_token(standin: BitbucketStandin) -> None:
    token = standin.identity_provider.step_token(Step(standin.workspace, API))
    configuration = httpx.get(f"{standin.identity_provider.issuer}/.well-known/openid-configuration").json()
    keys = httpx.get(configuration["jwks_uri"]).json()["keys"]
    assert configuration["issuer"] == decoded(token, 1)["iss"]
    assert [key["kid"] for key in keys] == [decoded(token, 0)["kid"]]
    assert verified(token, keys[0])
    assert not verified(token, SigningKey("another").public_jwk())


def test_rotation_signs_with_a_new_key_and_keeps_the_old_one_published_on_demand(standin: BitbucketStandin) -> None:
    provider = standin.identity_provider
    old = provider.current_key
    new = provider.rotate()
    assert provider.keys == [old, new]
    newest = provider.rotate(keep_old=False)
    assert provider.keys == [newest]
    assert len({old.kid, new.kid, newest.kid}) == 3


def test_forged_tokens_are_the_attacks_they_claim_to_be(standin: BitbucketStandin) -> None:
    key = standin.identity_provider.current_key
    claims = standin.identity_provider.claims(Step(standin.workspace, API))
    unsigned = key.leave_unsigned(claims)
    assert decoded(unsigned, 0)["alg"] == "none"
    assert unsigned.endswith(".")
    confused = key.sign_with_public_key_as_secret(claims)
    numbers = key.public_jwk()
    n, e = (int.from_bytes(base64.urlsafe_b64decode(numbers[name] + "=="), "big") for name in ("n", "e"))
    pem = rsa.RSAPublicNumbers(e, n).public_key()
    secret = pem.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signing_input, _, signature = confused.rpartition(".")
    digest = hmac.digest(secret, signing_input.encode(), hashlib.sha256)
    assert base64.urlsafe_b64decode(signature + "==") == digest


def test_another_workspace_has_no_keys_here(standin: BitbucketStandin) -> None:
    url = standin.identity_provider.issuer.replace("/acme/", "/globex/")
    assert httpx.get(f"{url}/keys.json").status_code == 404


# Build statuses


def test_a_status_is_created_and_then_updated_by_its_creator(standin: BitbucketStandin) -> None:
    created = httpx.post(statuses_url(standin), json=STATUS, headers=BEARER)
    overwritten = httpx.post(statuses_url(standin), json=STATUS | {"state": "FAILED"}, headers=BEARER)
    updated = httpx.put(f"{statuses_url(standin)}/deploy-api", json={"state": "SUCCESSFUL"}, headers=BEARER)
    assert [answer.status_code for answer in (created, overwritten, updated)] == [201, 201, 200]
    shown = httpx.get(f"{statuses_url(standin)}/deploy-api", headers=BEARER).json()
    assert shown["state"] == "SUCCESSFUL"
    assert shown["url"] == STATUS["url"]
    assert [status.states for status in standin.statuses.of_commit(API, COMMIT)] == [
        ["INPROGRESS", "FAILED", "SUCCESSFUL"]
    ]


def test_only_its_creator_or_an_admin_changes_a_status(standin: BitbucketStandin) -> None:
    standin.credentials.access_tokens |= {"b": Principal("someone"), "c": Principal("boss", is_admin=True)}
    httpx.post(statuses_url(standin), json=STATUS, headers=BEARER)
    other = httpx.post(statuses_url(standin), json=STATUS, headers={"Authorization": "Bearer b"})
    admin = httpx.post(statuses_url(standin), json=STATUS, headers={"Authorization": "Bearer c"})
    assert (other.status_code, admin.status_code) == (403, 201)
    assert other.json()["type"] == "error"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", "k" * 41),
        ("key", None),
        ("state", "DONE"),
        ("state", None),
        ("url", "not a url"),
        ("url", None),
        ("url", "https://acme.dev/" + "x" * 450),
        ("name", "n" * 256),
        ("description", 7),
    ],
)
def test_a_status_against_the_rules_is_refused_by_field(standin: BitbucketStandin, field: str, value: object) -> None:
    answer = httpx.post(statuses_url(standin), json=STATUS | {field: value}, headers=BEARER)
    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == [field]
    assert standin.statuses.of_commit(API, COMMIT) == []


def test_a_key_of_forty_characters_is_taken(standin: BitbucketStandin) -> None:
    assert httpx.post(statuses_url(standin), json=STATUS | {"key": "k" * 40}, headers=BEARER).status_code == 201


def test_a_body_that_is_not_json_is_a_400(standin: BitbucketStandin) -> None:
    answer = httpx.post(statuses_url(standin), content=b"\xff{", headers={**BEARER, "Content-Type": "application/json"})
    assert answer.status_code == 400


def test_a_missing_scope_is_named(standin: BitbucketStandin) -> None:
    standin.credentials.access_tokens["p"] = Principal("pipe", frozenset({"pullrequest"}))
    answer = httpx.post(statuses_url(standin), json=STATUS, headers={"Authorization": "Bearer p"})
    assert answer.status_code == 403
    assert "privilege scopes" in answer.json()["error"]["message"]
    assert answer.json()["error"]["detail"] == {"granted": ["pullrequest"], "required": ["repository"]}


@pytest.mark.parametrize("repository", ["acme/unknown", "globex/api", "acme/web"])
def test_a_repository_that_one_may_not_see_does_not_exist(standin: BitbucketStandin, repository: str) -> None:
    standin.credentials.access_tokens["the-access-token"] = Principal("pipe", repositories=frozenset({"api"}))
    assert httpx.post(statuses_url(standin, repository), json=STATUS, headers=BEARER).status_code == 404


def test_a_repository_goes_by_its_uuid_too(standin: BitbucketStandin) -> None:
    url = statuses_url(standin, f"{standin.workspace.uuid}/{API.uuid}".replace("{", "%7B").replace("}", "%7D"))
    assert httpx.post(url, json=STATUS, headers=BEARER).status_code == 201


def test_a_step_token_is_no_credential_of_the_api(standin: BitbucketStandin) -> None:
    token = standin.identity_provider.step_token(Step(standin.workspace, API))
    answer = httpx.post(statuses_url(standin), json=STATUS, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401


# Credentials


def test_an_api_token_authenticates_by_email_with_basic(standin: BitbucketStandin) -> None:
    scopes = frozenset({"read:repository:bitbucket"})
    standin.credentials.api_tokens["dev@acme.dev", "the-api-token"] = Principal("dev", scopes)
    right = httpx.post(statuses_url(standin), json=STATUS, auth=("dev@acme.dev", "the-api-token"))
    wrong = httpx.post(statuses_url(standin), json=STATUS, auth=("dev@acme.dev", "another"))
    assert (right.status_code, wrong.status_code) == (201, 401)


def test_client_credentials_buy_an_access_token(standin: BitbucketStandin) -> None:
    standin.credentials.oauth_clients["id", "secret"] = Principal("consumer")
    answer = httpx.post(standin.oauth_url, data={"grant_type": "client_credentials"}, auth=("id", "secret")).json()
    bearer = {"Authorization": f"Bearer {answer['access_token']}"}
    assert answer["expires_in"] == 3600
    assert httpx.post(statuses_url(standin), json=STATUS, headers=bearer).status_code == 201


def test_a_bought_access_token_expires(standin: BitbucketStandin) -> None:
    now = 1_000_000.0
    standin.credentials.clock = lambda: now
    standin.credentials.oauth_clients["id", "secret"] = Principal("consumer")
    answer = httpx.post(standin.oauth_url, data={"grant_type": "client_credentials"}, auth=("id", "secret")).json()
    now += answer["expires_in"]
    bearer = {"Authorization": f"Bearer {answer['access_token']}"}
    assert httpx.post(statuses_url(standin), json=STATUS, headers=bearer).status_code == 401


def test_client_credentials_are_refused_otherwise(standin: BitbucketStandin) -> None:
    standin.credentials.oauth_clients["id", "secret"] = Principal("consumer")
    grant = {"grant_type": "client_credentials"}
    assert httpx.post(standin.oauth_url, data=grant, auth=("id", "wrong")).status_code == 401
    assert httpx.post(standin.oauth_url, data=grant).status_code == 401
    assert httpx.post(standin.oauth_url, json=grant, auth=("id", "secret")).status_code == 400
    assert httpx.post(standin.oauth_url, data={"grant_type": "password"}, auth=("id", "secret")).status_code == 400


# Code Insights behind the proxy


def test_the_proxy_authenticates_a_report_by_itself(standin: BitbucketStandin) -> None:
    with httpx.Client(proxy=standin.proxy_url) as client:
        answer = client.put(report_path(), json=REPORT)
    assert answer.status_code == 200
    assert [report.values["title"] for report in standin.insights.of_commit(API, COMMIT)] == ["Handoff"]


def test_a_report_without_the_proxy_needs_a_credential(standin: BitbucketStandin) -> None:
    url = report_path().replace("http://api.bitbucket.org", standin.api_url)
    assert httpx.put(url, json=REPORT).status_code == 401
    assert httpx.put(url, json=REPORT, headers=BEARER).status_code == 200


def test_the_proxy_serves_no_statuses_and_no_other_host(standin: BitbucketStandin) -> None:
    with httpx.Client(proxy=standin.proxy_url) as client:
        status = client.post(report_path().replace("reports/handoff", "statuses/build"), json=STATUS)
        other = client.put(report_path().replace("api.bitbucket.org", "api.acme.dev"), json=REPORT)
    direct = httpx.put(f"{standin.proxy_url}/2.0/repositories/acme/api/commit/{COMMIT}/reports/handoff", json=REPORT)
    assert (status.status_code, other.status_code, direct.status_code) == (403, 403, 400)
    assert status.json() == {"code": 403, "message": "Only reports and their annotations are served"}


@pytest.mark.parametrize(
    "change",
    [
        {"title": None},
        {"details": None},
        {"report_type": "DEPLOYMENT"},
        {"result": "STOPPED"},
        {"data": [{"title": str(n), "type": "NUMBER", "value": n} for n in range(11)]},
        {"data": [{"title": "t", "type": "PERCENTAGE", "value": 101}]},
        {"data": [{"title": "t", "type": "TEXT", "value": 1}]},
        {"data": [{"title": "t", "type": "DURATION", "value": True}]},
        {"data": [{"title": "t", "type": "LINK", "value": "https://acme.dev"}]},
        {"data": [{"title": "t", "type": "COLOUR", "value": "red"}]},
    ],
)
def test_a_report_against_the_rules_is_refused(standin: BitbucketStandin, change: dict[str, object]) -> None:
    with httpx.Client(proxy=standin.proxy_url) as client:
        answer = client.put(report_path(), json=REPORT | change)
    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "message"}


def test_annotations_are_taken_in_batches_of_a_hundred(standin: BitbucketStandin) -> None:
    def annotations(count: int, **change: object) -> list[dict[str, object]]:
        base = {"annotation_type": "BUG", "summary": "s", "severity": "LOW", "path": "a.py", "line": 1}
        return [{"external_id": f"a{n}", **base, **change} for n in range(count)]

    def answered(client: httpx.Client, body: object) -> int:
        return client.post(f"{report_path()}/annotations", json=body).status_code

    with httpx.Client(proxy=standin.proxy_url) as client:
        assert answered(client, annotations(1)) == 404
        client.put(report_path(), json=REPORT)
        assert answered(client, annotations(100)) == 200
        assert answered(client, annotations(101)) == 400
        assert answered(client, []) == 400
        assert answered(client, annotations(1, summary="")) == 400
        assert answered(client, annotations(1, line=0)) == 400
        assert answered(client, annotations(1, severity="URGENT")) == 400


# Recording, faults, the control API


def test_what_is_recorded_holds_no_credential(standin: BitbucketStandin) -> None:
    httpx.post(statuses_url(standin) + "?x=1", json=STATUS, headers=BEARER)
    form = {"grant_type": "client_credentials", "client_id": "id", "client_secret": "the-access-token"}
    httpx.post(standin.oauth_url, data=form)
    recorded = standin.journal.requests
    assert [(request.listener, request.method, request.status) for request in recorded] == [
        ("api", "POST", 201),
        ("site", "POST", 401),
    ]
    assert recorded[0].target.endswith("/statuses/build?x=1")
    assert json.loads(recorded[0].body) == STATUS
    assert recorded[0].authorization_scheme == "Bearer"
    assert "the-access-token" not in repr(recorded)


def test_a_fault_spoils_as_many_requests_as_asked(standin: BitbucketStandin) -> None:
    standin.journal.faults.append(Fault(times=2, status=429, headers={"Retry-After": "1"}, target="statuses/build$"))
    answers = [httpx.post(statuses_url(standin), json=STATUS, headers=BEARER) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 201]
    assert answers[0].headers["retry-after"] == "1"


def test_another_process_drives_it_over_the_control_api() -> None:
    command = [sys.executable, "-m", "support.bitbucket_standin", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT / "test", stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        urls = json.loads(process.stdout.readline())
        asked = {"environment": "production", "branch": "main", "audiences": ["https://api.acme.dev"]}
        minted = httpx.post(f"{urls['control']}/step-tokens", json=asked).json()
        assert decoded(minted["step_token"], 1)["iss"] == urls["issuer"]
        assert minted["variables"]["BITBUCKET_DEPLOYMENT_ENVIRONMENT"] == "production"
        httpx.post(f"{urls['control']}/access-tokens", json={"token": "t"})
        httpx.post(f"{urls['control']}/faults", json={"status": 503})
        answers = [
            httpx.post(
                f"{urls['api']}/2.0/repositories/acme/api/commit/{COMMIT}/statuses/build",
                json=STATUS,
                headers={"Authorization": "Bearer t"},
            ).status_code
            for _ in range(2)
        ]
        assert answers == [503, 201]
        assert len(httpx.get(f"{urls['control']}/requests").json()) == 2
    finally:
        process.terminate()
        assert process.wait(10) == 0
        process.stdout.close()


# The official OpenAPI as a judge


def recorded(method: str, target: str, body: object) -> RecordedRequest:
    headers = {"content-type": "application/json"}
    return RecordedRequest("api", method, target, headers, json.dumps(body).encode(), None)


@pytest.mark.skipif(not official_openapi.is_available(), reason="the official OpenAPI is not beside this checkout")
def test_the_official_openapi_tells_valid_requests_from_others() -> None:
    base = f"/2.0/repositories/acme/api/commit/{COMMIT}"
    statuses = f"{base}/statuses/build"
    data = [{"title": "t", "type": "DURATION", "value": 7}]
    valid = [
        recorded("POST", statuses, STATUS),
        recorded("PUT", f"{statuses}/deploy-api", STATUS),
        recorded("PUT", f"http://api.bitbucket.org{base}/reports/r", {"type": "report", **REPORT, "data": data}),
    ]
    invalid = [
        recorded("POST", statuses, STATUS | {"state": "DONE"}),
        recorded("POST", statuses, {"type": "build", "state": "FAILED"}),
        recorded("POST", statuses, {"key": "k", "state": "FAILED"}),
        recorded("POST", f"{statuses}?force=1", STATUS),
        recorded("DELETE", statuses, STATUS),
        recorded("POST", f"{base}/status/build", STATUS),
        recorded("PUT", f"{base}/reports/r", {"type": "report", **REPORT, "result": "STOPPED"}),
        recorded("PUT", f"{base}/reports/r", {"type": "report", **REPORT, "data": [{"title": 1}]}),
    ]
    assert [official_openapi.violations(request) for request in valid] == [[], [], []]
    assert [len(official_openapi.violations(request)) for request in invalid] == [1] * len(invalid)
