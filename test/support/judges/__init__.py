"""Judges of what a run wrote or sent: secrets in text, requests that Bitbucket's OpenAPI does not allow, claims of a token.

They look and report; they start nothing and change nothing.
"""

from . import official_openapi
from .jwt_parts import claims_of
from .leak_search import leaks

__all__ = ["claims_of", "leaks", "official_openapi"]
