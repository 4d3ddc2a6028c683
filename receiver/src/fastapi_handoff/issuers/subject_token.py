"""The subject token of any kind of issuer: from untrusted text to what is attested, one check after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fastapi_handoff.issuers.base import media_type
from fastapi_handoff.jose import Jws, MalformedJws, is_time, verifies
from fastapi_handoff.jose import parse as parse_jws
from fastapi_handoff.request import LEEWAY, REPLAY_MEMORY, TOKEN_BYTES, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastapi_handoff.issuers.base import Claim, Issuer
    from fastapi_handoff.jose import ECKey, RSAKey
    from fastapi_handoff.request import Checks

_FORBIDDEN_HEADERS: Final = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64"})
_MAX_CHARACTERS: Final = 500
"""Of a claim. Some are keys of the database's rows, and PostgreSQL cannot index a text of more than 2,700 bytes."""


@dataclass(frozen=True, slots=True)
class UnverifiedSubjectToken:
    """A subject token that has the right form. Nothing it says is known to be true."""

    unverified: Jws
    kid: str
    alg: str
    typ: str
    """As `media_type` returns it; empty where the header has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """What an issuer attests about a caller."""

    issuer: Issuer
    subject: str
    """`sub`. Bitbucket's is another on every run of a step."""
    claims: Mapping[str, str]
    """By our names; an absent claim is absent here."""
    asserted: Mapping[str, Any] | None
    """What the caller itself had put into the token; it proves nothing."""
    jkt: str | None
    """RFC 7638 thumbprint of the only key that may use the token; `None` where it is not bound to one."""
    is_for_default_audience: bool
    """Whether the token is meant for all services of its tenant, and not for this one."""
    replay_key: str = field(repr=False)
    expires_at: int
    """The token's `exp`, unix seconds."""

    @property
    def source(self) -> str:
        """The attested id of where the caller's events come from."""
        return self.claims[self.issuer.source]

    @property
    def remember_until(self) -> int:
        """Unix seconds until which the token's binding to a key must be remembered."""
        return self.expires_at + REPLAY_MEMORY


def parse(text: str) -> UnverifiedSubjectToken:
    """Read the form of a subject token. Raises `Refusal`: `step-token-malformed`."""
    try:
        unverified = parse_jws(text, max_bytes=TOKEN_BYTES)
    except MalformedJws as error:
        raise Refusal("step-token-malformed", f"the subject token cannot be read: {error}") from None
    header, claims = unverified.header, unverified.claims
    for name in sorted(_FORBIDDEN_HEADERS & header.keys()):
        # Each names a key of the sender's choice, or changes what is signed.
        raise Refusal("step-token-malformed", f"the subject token's header has `{name}`, which no subject token has")
    for name in ("alg", "kid"):
        if not isinstance(header.get(name), str) or not header[name]:
            raise Refusal(
                "step-token-malformed", f"the subject token's header has no `{name}`, or one that is not text"
            )
    typ = header.get("typ", "")
    if not isinstance(typ, str):
        raise Refusal("step-token-malformed", "the subject token's header has a `typ` that is not text")
    for name in ("exp", "iat", "nbf"):
        if name in claims and not is_time(claims[name]):
            raise Refusal("step-token-malformed", f"the subject token's `{name}` is not whole seconds since 1970")
    audience = claims.get("aud", [])
    if not isinstance(audience, str) and not (
        isinstance(audience, list) and all(isinstance(entry, str) for entry in audience)
    ):
        raise Refusal("step-token-malformed", "the subject token's `aud` is neither text nor a list of text")
    return UnverifiedSubjectToken(unverified, header["kid"], header["alg"], media_type(typ))


def issuer_of(token: UnverifiedSubjectToken, trusted: Iterable[Issuer]) -> Issuer:
    """Return the trusted issuer that the token claims to be of, and pin its algorithms and its `typ`.

    Raises `Refusal`: `issuer-unknown`; `step-token-signature-invalid` for an algorithm that is not the issuer's;
    `step-token-malformed` for a `typ` that is not. The text names no issuer: it would tell a stranger the workspace of
    the policy. The algorithm is ours to say and not the token's: `none`, and HS256 with the public key as its secret,
    end here. By its `typ` an access token, a proof or a logout token of the same keys does not pass for another kind.
    """
    claimed = token.unverified.claims.get("iss")
    issuer = next((issuer for issuer in trusted if issuer.url == claimed), None)
    if issuer is None:
        raise Refusal("issuer-unknown", "the subject token's `iss` is not the issuer this receiver trusts")
    if token.alg not in issuer.algorithms:
        algorithms = " or ".join(f"`{name}`" for name in sorted(issuer.algorithms))
        raise Refusal("step-token-signature-invalid", f"the subject token is not signed with {algorithms}")
    is_typ_ours = token.typ in {"at+jwt", "dpop+jwt"}
    if is_typ_ours if issuer.types is None else token.typ not in issuer.types:
        raise Refusal("step-token-malformed", "the subject token's `typ` is not that of this issuer's tokens")
    return issuer


def verify(
    token: UnverifiedSubjectToken,
    key: ECKey | RSAKey,
    issuer: Issuer,
    *,
    audience: str,
    takes_default_audience: bool = False,
    now: int,
    checks: Checks,
) -> Attested:
    """Verify a token that `issuer_of` found the issuer of, under that issuer's key of its `kid`.

    `audience` is the receiver's URL, which an issuer's own setting replaces; `takes_default_audience` tells whether any
    grant takes the audience that all services of a tenant share; `now` is unix seconds. Raises `Refusal`, in the order
    of the protocol.
    """
    if not verifies(token.unverified, key, token.alg):
        raise Refusal(
            "step-token-signature-invalid", "the subject token is not signed by the issuer's key of that `kid`"
        )
    checks.passed("signature", token.alg)
    checks.passed("iss", issuer.url)
    claims = token.unverified.claims
    _require_times(claims, issuer, now, checks)
    is_for_default_audience = _require_audience(claims, issuer, audience, checks, takes_default=takes_default_audience)
    subject, attested = _attested(claims, issuer, checks)
    for name, expected in issuer.expected.items():
        got = claims.get(name)
        if got != expected:
            raise checks.refuse(
                name,
                expected,
                got,
                "issuer-unknown",
                f"the subject token's `{name}` is not the policy's: it was made for another tenant of this issuer, "
                "perhaps one that has, or had, the same name",
            )
        checks.passed(name, expected)
    jkt = _bound_key(claims, checks)
    checks.disclosed = not issuer.is_shared
    return Attested(
        issuer=issuer,
        subject=subject,
        claims=attested,
        asserted=issuer.asserted(claims),
        jkt=jkt,
        is_for_default_audience=is_for_default_audience,
        replay_key=issuer.replay_key(token.unverified),
        expires_at=claims["exp"],
    )


def _require_times(claims: dict[str, Any], issuer: Issuer, now: int, checks: Checks) -> None:
    for name in ("exp", "iat"):
        if name not in claims:
            raise checks.refuse(name, "present", None, "claims-missing", f"the subject token has no `{name}`")
    if now > claims["exp"] + LEEWAY:
        raise checks.refuse(
            "exp",
            f"≥ {now - LEEWAY}",
            claims["exp"],
            "step-token-expired",
            f"the subject token expired at {claims['exp']}",
        )
    checks.passed("exp", claims["exp"], expected=f"≥ {now - LEEWAY}")
    for name in ("iat", "nbf"):
        if name in claims and claims[name] > now + LEEWAY:
            raise checks.refuse(
                name,
                f"≤ {now + LEEWAY}",
                claims[name],
                "step-token-not-yet-valid",
                f"the subject token's `{name}` is in the future: compare the clocks",
            )
    lifetime = claims["exp"] - claims["iat"]
    if issuer.max_lifetime is not None and lifetime > issuer.max_lifetime:
        # A token that outlives its issuer's usual ones was made by another hand, or is worth stealing.
        raise checks.refuse(
            "lifetime",
            f"≤ {issuer.max_lifetime}",
            lifetime,
            "step-token-lifetime-exceeded",
            f"the token lives {lifetime} s, tokens of this issuer may live {issuer.max_lifetime} s",
        )


def _require_audience(
    claims: dict[str, Any], issuer: Issuer, audience: str, checks: Checks, *, takes_default: bool
) -> bool:
    """Return whether the token is for the default audience only."""
    audience = issuer.audience or audience
    aud = claims.get("aud")
    audiences = [aud] if isinstance(aud, str) else aud or []
    if audience in audiences:
        checks.passed("aud", audience)
        return False
    if takes_default and issuer.default_audience in audiences:
        checks.passed("aud", issuer.default_audience)
        return True
    raise checks.refuse(
        "aud",
        audience,
        " ".join(audiences) or None,
        "audience-mismatch",
        # The receiver's own URL is no secret; what the policy names instead may be.
        f"the subject token is not meant for `{audience}`: {issuer.audience_advice}"
        if issuer.audience is None
        else "the subject token is not meant for the audience that the policy names for its issuer",
    )


def _bound_key(claims: Mapping[str, Any], checks: Checks) -> str | None:
    """Return the thumbprint of the key that a token is bound to (RFC 9449, section 6)."""
    confirmation = claims.get("cnf")
    if confirmation is None:
        return None
    jkt = confirmation.get("jkt") if isinstance(confirmation, dict) else None
    if not isinstance(jkt, str):
        # Bound to a certificate, say. Taken for a token that is bound to nothing, it would be good in any hands.
        raise checks.refuse(
            "cnf.jkt", "text", jkt, "key-mismatch", "the subject token is bound to something else than a DPoP key"
        )
    return jkt


def _attested(claims: Mapping[str, Any], issuer: Issuer, checks: Checks) -> tuple[str, dict[str, str]]:
    found: dict[str, str] = {}
    flat = issuer.flat(claims)
    subject = _text(flat, "sub", checks)
    if issuer.replay_claim is not None:
        # Read where `replay_key` reads it.
        _text(claims, issuer.replay_claim, checks)
    for claim in issuer.table:
        # An optional claim that is null or empty is absent.
        if claim.required or flat.get(claim.claim) not in (None, "", []):
            found[claim.name] = _words(flat, claim, checks) if claim.is_list else _text(flat, claim.claim, checks)
    return subject, found


def _text(claims: Mapping[str, Any], name: str, checks: Checks) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_CHARACTERS:
        raise checks.refuse(
            name,
            f"text of at most {_MAX_CHARACTERS} characters",
            value,
            "claims-missing",
            f"the subject token has no `{name}`, or one that is not text of at most {_MAX_CHARACTERS} characters",
        )
    return value


def _words(claims: Mapping[str, Any], claim: Claim, checks: Checks) -> str:
    value = claims.get(claim.claim)
    # A space inside a word would make two of it.
    if not isinstance(value, list) or not all(isinstance(word, str) and word.split() == [word] for word in value):
        raise checks.refuse(
            claim.claim,
            "a list of words",
            value,
            "claims-missing",
            f"the subject token has no `{claim.claim}`, or one that is not a list of words",
        )
    return _text({claim.claim: " ".join(value)}, claim.claim, checks)
