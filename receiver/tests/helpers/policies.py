"""Policies for the tests of comparing, linting and reviewing them."""

from __future__ import annotations

from fastapi_handoff import Policy

WORKSPACE = "{c8b5a4d4-7f1e-4f0c-b7c2-1d2f0a9e6b3a}"
OTHER_WORKSPACE = "{77777777-7777-4777-8777-777777777777}"
API = "{4f7a2a5e-8a0b-4c5e-9d55-0b1f5f3f7a01}"
WEB = "{11111111-2222-4333-8444-555555555555}"
PRODUCTION = "{0d1f9c8e-5c6c-4d0e-9a51-3a3b7c6f2f10}"
STAGING = "{9d1f9c8e-5c6c-4d0e-9a51-3a3b7c6f2f19}"
HEAD = f'[bitbucket]\nworkspace = "acme"\nworkspace_uuid = "{WORKSPACE}"\n'
TWO_ISSUERS = f"""{HEAD}
[[issuers]]
name = "umbrella"
kind = "bitbucket"
workspace = "umbrella"
workspace_uuid = "{OTHER_WORKSPACE}"
"""


def text(*grants: str, head: str = HEAD, tests: str = "", scopes: str = '["deploy"]', repository: str = API) -> str:
    """Return a policy's text: a grant for each of the texts, which may say more or replace what is usual."""
    tables = []
    for number, grant in enumerate(grants, 1):
        own = grant.split("[[grants]]")[0]
        lines = [] if "name = " in own.replace("environment_name = ", "") else [f'name = "grant {number}"']
        lines += [] if "repository = " in own else [f'repository = "{repository}"']
        lines += [] if "scopes = " in own else [f"scopes = {scopes}"]
        tables.append("\n".join(["[[grants]]", *lines, grant, ""]))
    return "\n".join([head, *tables, tests])


def policy(*grants: str, **more: str) -> Policy:
    return Policy.parse(text(*grants, **more).encode(), "handoff.toml")
