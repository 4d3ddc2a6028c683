"""An issuer that serves everybody, and a grant that does not say whose callers are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.lint.base import Rule, has_immutable_subject, oidc_settings, quoted, writes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy

_SHARED: Final[dict[str, tuple[str, str]]] = {
    "https://token.actions.githubusercontent.com": ("repository_owner_id", "repository_id"),
    "https://gitlab.com": ("namespace_id", "project_id"),
    "https://agent.buildkite.com": ("organization_id", "pipeline_id"),
    "https://app.terraform.io": ("terraform_organization_id", "terraform_workspace_id"),
}
"""Issuers that anybody can have a token of: the claim with the owner's id, and the one with the repository's."""


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    for position, grant in enumerate(policy.grants):
        settings = oidc_settings(policy, grant)
        ids = None if settings is None else _SHARED.get(settings.issuer.rstrip("/").lower())
        if settings is None or ids is None:
            continue
        asked = {each.claim: each.expected for each in grant.conditions}
        # What `expected` pins holds for each of its tokens. A value that anybody can have, as `ref_protected`, does not
        # make the issuer anybody's own, so that it is not enough that there is one.
        claims = {**settings.expected, **asked}
        missing = [each for each in ids if each not in claims]
        if not missing or has_immutable_subject(claims):
            continue
        owner, repository = ids
        if missing == [repository]:
            if not writes(grant):
                continue
            who = f"all that `{owner}` owns, today and later, has {quoted(writes(grant))}"
        elif missing == [owner]:
            who = f"{quoted(grant.scopes)} goes along to whoever the repository is handed over to"
        else:
            who = f"whoever on earth fits the rest of the grant has {quoted(grant.scopes)}"
        yield (
            ("grants", position),
            f"`{settings.issuer}` serves everybody, and neither the grant nor `expected` asks for "
            f"{' and '.join(f'`{each}`' for each in missing)}: {who}.",
            asked,
        )


RULE: Final = Rule(
    id="shared-issuer-open",
    severity="error",
    title="An issuer that serves everybody, without the owner's and the repository's id",
    help=(
        "Anybody can have a token of GitHub Actions, GitLab.com, Buildkite or HCP Terraform. Ask for the owner's id "
        "*and* the repository's (project's, pipeline's, workspace's), each in the grant or in the issuer's `expected`. "
        "A grant that is plainly for reading may be for all that one owner has."
    ),
    check=_check,
)
