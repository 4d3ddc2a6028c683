"""Every parser, on anything: it gives a value or its own refusal, and nothing else ever."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastapi_handoff import PolicyError, jose
from fastapi_handoff.auth import access_token, dpop
from fastapi_handoff.events import PIPE_EVENTS, EventMalformed
from fastapi_handoff.events import integrity as signature
from fastapi_handoff.issuers import Bitbucket, BitbucketSettings, subject_token
from fastapi_handoff.issuers.jwks import IssuerUnavailable, read_keys
from fastapi_handoff.policy import file as policy_file
from fastapi_handoff.policy import patterns as glob
from fastapi_handoff.request import Checks, Refusal, normal_url
from fastapi_handoff.request import headers as requests
from fastapi_handoff.web import token_request
from helpers.fuzzing import examples
from helpers.pipe import Key, event
from helpers.provider import WORKSPACE_UUID, RsaKey, encode_part

pytestmark = pytest.mark.fuzz
FEW = settings(max_examples=examples(60), deadline=None)
MANY = settings(max_examples=examples(300), deadline=None)
URL = "https://api.acme.dev/handoff/token"
NOW = 1_795_489_275
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = Key()

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), st.integers(min_value=2**60)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
base64url_text = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", max_size=60)


def mutated(template: object) -> st.SearchStrategy[object]:
    """A value like `template` in which some members are replaced, lost or added."""
    if isinstance(template, dict):
        return st.fixed_dictionaries({}, optional={name: mutated(value) for name, value in template.items()}).flatmap(
            lambda known: st.one_of(
                st.just(known),
                st.dictionaries(st.text(max_size=8), values, max_size=2).map(lambda more: {**known, **more}),
            )
        )
    return st.one_of(st.just(template), st.just(template), values)


def dumps(value: object) -> bytes:
    return json.dumps(value).encode()


@MANY
@given(
    st.one_of(
        st.binary(max_size=200),
        values.map(dumps),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    )
)
def test_strict_json_gives_what_json_gives_or_refuses(raw: bytes) -> None:
    try:
        value = jose.parse_json(raw)
    except jose.NotStrictJson:
        return
    assert value == json.loads(raw.decode())
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@MANY
@given(st.one_of(base64url_text, st.text(max_size=40)))
def test_base64url_has_one_spelling(text: str) -> None:
    try:
        raw = jose.decode(text)
    except jose.MalformedJws:
        return
    assert jose.encode(raw) == text
    assert urlsafe_b64decode(text + "=" * (-len(text) % 4)) == raw


@MANY
@given(st.one_of(st.text(max_size=100), st.lists(base64url_text, min_size=2, max_size=4).map(".".join)))
def test_compact_form_is_read_or_refused(text: str) -> None:
    try:
        parsed = jose.parse(text, max_bytes=8192)
    except jose.MalformedJws:
        return
    assert text.startswith(parsed.signing_input.decode() + ".")


@FEW
@given(
    st.one_of(values, mutated({"alg": "RS256", "kid": "k"})),
    st.one_of(values, mutated({"iss": "i", "aud": ["a"], "exp": NOW, "iat": NOW})),
)
def test_step_token_is_read_or_refused(header: object, claims: object) -> None:
    with_refusals(lambda: subject_token.parse(f"{encode_part(dumps(header))}.{encode_part(dumps(claims))}.AA"))


ISSUER = Bitbucket.from_settings(
    BitbucketSettings(workspace="acme", workspace_uuid=WORKSPACE_UUID), "https://bitbucket.test"
)
REQUIRED = [claim.claim for claim in Bitbucket.claims if claim.required]


@FEW
@given(mutated({"aud": URL, "exp": NOW + 9, "iat": NOW, "sub": "s", **dict.fromkeys(REQUIRED, "x")}))
def test_signed_claims_are_verified_or_refused(claims: object) -> None:
    """Whatever an identity provider signs: it is an identity or a refusal."""

    def verify() -> None:
        token = subject_token.parse(RSA.sign(dumps(claims)))
        subject_token.verify(token, jose.import_rsa(RSA.jwk()), ISSUER, audience=URL, now=NOW, checks=Checks())

    with_refusals(verify)


@FEW
@given(
    mutated({"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.jwk}),
    mutated({"htm": "POST", "htu": URL, "iat": NOW, "jti": "a" * 22, "ath": "x", "content_digest": "d"}),
)
def test_proof_is_verified_or_refused(header: object, claims: object) -> None:
    text = KEY.sign_parts(encode_part(dumps(header)), encode_part(dumps(claims)))
    with_refusals(lambda: dpop.verify(text, method="POST", url=URL, now=NOW, checks=Checks()))


@FEW
@given(st.text(max_size=80))
def test_any_text_is_no_proof(text: str) -> None:
    with pytest.raises(Refusal):
        dpop.verify(text, method="POST", url=URL, now=NOW, checks=Checks())


@FEW
@given(
    mutated({"typ": "at+jwt", "alg": "ES256", "kid": "k"}),
    mutated(
        {
            "iss": URL,
            "aud": URL,
            "client_id": URL,
            "exp": NOW,
            "iat": NOW,
            "sub": "s",
            "cnf": {"jkt": "j"},
            "scope": "a",
            "jti": "j",
            "grant": "g",
            "policy": "p",
            "issuer": {"name": "n", "iss": "i", "kind": "bitbucket"},
            "attested": dict.fromkeys([claim.name for claim in Bitbucket.claims], "w"),
        }
    ),
)
def test_access_token_is_verified_or_refused(header: object, claims: object) -> None:
    text = KEY.sign_parts(encode_part(dumps(header)), encode_part(dumps(claims)))

    def verify() -> None:
        access_token.verify(
            access_token.parse(text, Checks()), jose.ECKey.import_key(KEY.jwk), url=URL, now=NOW, checks=Checks()
        )

    with_refusals(verify)


@MANY
@given(st.text(max_size=80))
def test_normal_url_is_normal(url: str) -> None:
    normal = normal_url(url)
    assert normal is None or normal_url(normal) == normal


@FEW
@given(st.one_of(st.binary(max_size=200), mutated(event("evt_1")).map(dumps)))
def test_event_is_read_or_refused(body: bytes) -> None:
    try:
        parsed = PIPE_EVENTS.parse(body)
    except EventMalformed:
        return
    parsed.for_handler()
    json.dumps(parsed.asserted())


@MANY
@given(
    st.one_of(
        st.binary(max_size=200),
        st.dictionaries(
            st.sampled_from(["grant_type", "scope", "resource", "subject_token", "x"]), st.text(max_size=20)
        ).map(
            lambda form: "&".join(f"{name}={value}" for name, value in form.items()).encode("utf-8", "surrogatepass")
        ),
    ),
    st.sampled_from([token_request.FORM, "application/json", None]),
)
def test_form_is_read_or_refused(body: bytes, media_type: str | None) -> None:
    with_refusals(lambda: token_request.parse(body, media_type, URL))


@MANY
@given(st.text(max_size=60), st.text(max_size=30), st.text(max_size=30), st.text(max_size=60))
def test_webhook_headers_are_read_or_refused(digest: str, identifier: str, timestamp: str, signatures: str) -> None:
    with_refusals(lambda: signature.require_digest(b"", digest, digest, Checks()))
    with_refusals(lambda: signature.require_webhook_headers(identifier, timestamp, NOW, Checks()))
    secrets = signature.SigningSecrets([SECRET])
    assert not secrets.verify(b"x", signatures)


@MANY
@given(st.lists(st.tuples(st.sampled_from([b"traceparent", b"dpop"]), st.binary(max_size=60)), max_size=3))
def test_headers_are_read_or_refused(headers: list[tuple[bytes, bytes]]) -> None:
    scope = {"headers": headers}
    assert re.fullmatch("[0-9a-f]{32}", requests.trace_id(scope))
    with_refusals(lambda: requests.RequestHeaders(scope).one("dpop"))


@FEW
@given(
    st.one_of(
        st.binary(max_size=200), mutated({"keys": [{"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"}]}).map(dumps)
    )
)
def test_key_set_is_read_or_refused(body: bytes) -> None:
    with suppress(IssuerUnavailable):
        assert read_keys(body)


@FEW
@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
)
def test_policy_file_is_read_or_refused(raw: bytes) -> None:
    with pytest.raises(PolicyError):
        policy_file.read(raw, "handoff.toml")


@MANY
@given(st.text("ab/*?", max_size=8), st.text("ab/", max_size=10))
def test_glob_agrees_with_its_regular_expression(pattern: str, text: str) -> None:
    parts = re.findall(r"\*\*+|.", pattern)
    expression = "".join(
        ".*" if len(part) > 1 else {"*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part)) for part in parts
    )
    assert glob.matches(pattern, text) == (re.fullmatch(expression, text, re.DOTALL) is not None)


RSA = RsaKey()


def with_refusals(call: Callable[[], object]) -> None:
    with suppress(Refusal):
        call()
