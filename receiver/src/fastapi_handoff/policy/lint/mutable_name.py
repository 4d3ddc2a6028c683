"""A name that decides where the provider has an immutable id for the same thing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fastapi_handoff.policy.lint.base import Rule, has_immutable_subject, oidc_settings, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fastapi_handoff.policy.lint.base import Found, Knowledge
    from fastapi_handoff.policy.model import Policy

_PERSON: Final = ("sub", "oid", "uid", "user_id")
_IDS: Final[dict[str, tuple[str, ...]]] = {
    # GitHub
    "repository": ("repository_id",),
    "repository_owner": ("repository_owner_id", "repository_id"),
    "actor": ("actor_id",),
    "enterprise": ("enterprise_id", "repository_owner_id", "repository_id"),
    # GitLab
    "project_path": ("project_id",),
    "namespace_path": ("namespace_id", "project_id"),
    "user_login": ("user_id",),
    "user_email": ("user_id",),
    # Buildkite and HCP Terraform
    "organization_slug": ("organization_id", "pipeline_id"),
    "pipeline_slug": ("pipeline_id",),
    "terraform_organization_name": ("terraform_organization_id", "terraform_project_id", "terraform_workspace_id"),
    "terraform_project_name": ("terraform_project_id", "terraform_workspace_id"),
    "terraform_workspace_name": ("terraform_workspace_id",),
    # OpenID Connect, section 5.1, and what providers add to it
    **dict.fromkeys(("name", "nickname", "preferred_username", "username", "email", "upn", "unique_name"), _PERSON),
    "app_displayname": ("azp", "appid", "oid"),
    "client_name": ("azp", "client_id", "sub"),
}
"""Names that can be given up, and the claims that pin the same thing, or a part of it."""
_SUBJECTS: Final = (
    (re.compile(r"repo:"), ("repository_id",)),
    (re.compile(r"project_path:"), ("project_id",)),
    (re.compile(r"organization:.*:pipeline:"), ("pipeline_id",)),
    (re.compile(r"organization:"), ("terraform_workspace_id",)),
    (re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+$"), ("oid", "uid", "user_id")),
)
"""Subjects that are made of names, and what pins the same thing. Elsewhere `sub` is an id, as the standard wants it."""
_KEYCLOAK: Final = "/realms/"


def ids_for(issuer: str, claims: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return the ids that one of which must be asked beside this name; none where it is no name, or is pinned."""
    ids = _IDS.get(name, ())
    if name == "sub" and not has_immutable_subject(claims):
        ids = next((ids for form, ids in _SUBJECTS if form.match(claims[name])), ())
    elif name in {"azp", "client_id"} and _KEYCLOAK in issuer:
        # Keycloak's clients are told by a name of their owner's choice; the service account has an id.
        ids = ("sub",)
    return () if any(each in claims and not _is_name(claims, each) for each in ids) else ids


def _is_name(claims: Mapping[str, str], claim: str) -> bool:
    return claim == "sub" and any(form.match(claims[claim]) for form, _ in _SUBJECTS)


def _check(policy: Policy, _known: Knowledge) -> Iterator[Found]:
    for position, grant in enumerate(policy.grants):
        settings = oidc_settings(policy, grant)
        if settings is None:
            continue
        asked = {each.claim: each.expected for each in grant.conditions}
        claims = {**settings.expected, **asked}
        if has_immutable_subject(claims):
            # The subject says both ids; a name beside it only repeats what it is called today.
            claims |= {"repository_id": "", "repository_owner_id": ""}
        for name in claims:
            if ids := ids_for(settings.issuer, claims, name):
                where = "" if name in asked else f" (`expected` of issuer `{settings.name}`)"
                yield (
                    path_of(policy, position, name) if name in asked else ("grants", position),
                    f"`{name}`{where} is a name, and whoever takes it when it is given up is let in: "
                    f"ask for {' or '.join(f'`{each}`' for each in ids)} as well.",
                    asked,
                )


RULE: Final = Rule(
    id="mutable-name",
    severity="error",
    title="A name that decides where the provider has an immutable id",
    help=(
        "Accounts, projects and people are renamed, and a stranger can take the name that is free then. Put the "
        "immutable id into the issuer's `required` and into the grant: `repository_id` and `repository_owner_id`, "
        "`project_id` and `namespace_id`, `oid`. A `sub` is looked at where it is made of names or an e-mail address."
    ),
    check=_check,
)
