"""The workspace that the stand-in holds: repositories, environments, and who may do what with them."""

from dataclasses import dataclass, field

# Any of these lets a caller report on a commit: the classic OAuth scopes and the scopes of API tokens.
REPOSITORY_SCOPES = frozenset(
    {"repository", "repository:write", "repository:admin", "read:repository:bitbucket", "write:repository:bitbucket"}
)


@dataclass(frozen=True)
class Environment:
    """A deployment environment; `uuid` with its braces, as Bitbucket writes it."""

    name: str
    uuid: str


@dataclass(frozen=True)
class Repository:
    """A repository of the workspace; `uuid` with its braces."""

    slug: str
    uuid: str
    environments: tuple[Environment, ...] = ()

    def environment(self, name: str) -> Environment:
        """The environment of that name; `KeyError` where there is none."""
        for environment in self.environments:
            if environment.name == name:
                return environment
        raise KeyError(name)


@dataclass(frozen=True)
class Principal:
    """Whoever a credential speaks for. `repositories` are the slugs it may see; `None` stands for all of them."""

    name: str
    scopes: frozenset[str] = frozenset({"repository"})
    is_admin: bool = False
    repositories: frozenset[str] | None = None

    def may_see(self, repository: Repository) -> bool:
        """Whether the repository exists for this principal; Bitbucket answers 404 where it does not."""
        return self.repositories is None or repository.slug in self.repositories

    def has_repository_scope(self) -> bool:
        """Whether a scope allows calls on a repository's commits."""
        return bool(self.scopes & REPOSITORY_SCOPES)


@dataclass
class Workspace:
    """A workspace and its repositories; `uuid` with its braces."""

    slug: str
    uuid: str
    repositories: list[Repository] = field(default_factory=list)

    def is_named(self, slug_or_uuid: str) -> bool:
        """Bitbucket takes the slug or the UUID in a path."""
        return slug_or_uuid in {self.slug, self.uuid}

    def repository(self, slug_or_uuid: str) -> Repository:
        """The repository of that slug or UUID; `KeyError` where there is none."""
        for repository in self.repositories:
            if slug_or_uuid in {repository.slug, repository.uuid}:
                return repository
        raise KeyError(slug_or_uuid)


PRODUCTION = Environment("production", "{0d1f9c8e-5c6c-4d0e-9a51-3a3b7c6f2f10}")
STAGING = Environment("staging", "{7be1a0ac-3d35-4c3c-8f63-54a1b4f0a922}")
API = Repository("api", "{4f7a2a5e-8a0b-4c5e-9d55-0b1f5f3f7a01}", (PRODUCTION, STAGING))
WEB = Repository("web", "{b1c1e6d2-0f5d-4f0b-8c39-c7a9b0e6d5f4}")
UNRELATED_WORKSPACE = Workspace("globex", "{e6a7a5f0-2c38-4b0d-8f0e-6a1fbb0c9a77}")


def acme() -> Workspace:
    """The workspace of the demo and the tests."""
    return Workspace("acme", "{c8b5a4d4-7f1e-4f0c-b7c2-1d2f0a9e6b3a}", [API, WEB])
