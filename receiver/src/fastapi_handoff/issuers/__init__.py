"""What identity providers attest: one file for each kind, and one line here.

Here belong the kinds' tables of claims and rules, the verification of subject tokens, and the fetching of keys. Not
here: what a caller may do with what is attested (`policy`), and the receiver's own tokens (`auth`).

`issuers.jwks` is a second door: it brings an HTTP client, which the command line has no use for.
"""

from typing import Final

from fastapi_handoff.issuers import subject_token
from fastapi_handoff.issuers.aws import Aws, AwsRole
from fastapi_handoff.issuers.base import Claim, Issuer, IssuerSettings, SubjectTokenType
from fastapi_handoff.issuers.bitbucket import Bitbucket, BitbucketSettings, BitbucketStep
from fastapi_handoff.issuers.oidc import Oidc, OidcSettings
from fastapi_handoff.issuers.okta import Okta, OktaClient, OktaSettings
from fastapi_handoff.issuers.subject_token import Attested

KINDS: Final[dict[str, type[Issuer]]] = {kind.kind: kind for kind in (Bitbucket, Aws, Okta, Oidc)}
"""Every kind of issuer. A new one is a file beside `bitbucket.py`, and its name in this line."""

__all__ = [
    "KINDS",
    "Attested",
    "AwsRole",
    "Bitbucket",
    "BitbucketSettings",
    "BitbucketStep",
    "Claim",
    "Issuer",
    "IssuerSettings",
    "OidcSettings",
    "OktaClient",
    "OktaSettings",
    "SubjectTokenType",
    "subject_token",
]
