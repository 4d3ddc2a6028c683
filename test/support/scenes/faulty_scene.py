"""A scene whose pipe reaches every server over a link that can misbehave."""

import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from support.bitbucket_standin import Step
from support.links import Fault, FaultyLink, Hop, Request

from .scene import SIGNING_SECRET, Scene


@dataclass(frozen=True)
class Point:
    """A point of the conversation: the link it goes over, and which of its requests."""

    name: str
    link: str
    concerns: Callable[[Request], bool]


TOKEN = Point("token", "receiver", lambda request: request.target.endswith("/token"))
EVENT = Point("event", "receiver", lambda request: request.target.endswith("/events"))
POLL = Point("poll", "receiver", lambda request: request.method == "GET")
FIRST_STATUS = Point("first status", "api", lambda request: b'"INPROGRESS"' in request.body)
LAST_STATUS = Point("last status", "api", lambda request: b'"INPROGRESS"' not in request.body)
OAUTH = Point("oauth", "oauth", lambda _: True)
INSIGHTS = Point("insights", "insights", lambda _: True)


@dataclass
class FaultyScene(Scene):
    """The links start without faults; those that are named in `tls` are under TLS."""

    tls: Mapping[str, ssl.SSLContext] = field(default_factory=dict)

    def _stand_between(self, stack: ExitStack) -> None:
        standin = self.standin
        servers = {
            "receiver": self.receiver.origin,
            "api": standin.api_url,
            "oauth": standin.oauth_url,
            "insights": standin.proxy_url,
        }
        self.links: dict[str, FaultyLink] = {}
        for name, url in servers.items():
            # The host in a URL of the stand-in is the pipe's name for this machine, which may not know it itself.
            host = urlsplit(url).hostname if name == "receiver" else self.pipe.hosts[0]
            upstream = (host or "", urlsplit(url).port or 0)
            self.links[name] = stack.enter_context(FaultyLink(self.pipe.hosts, upstream, tls=self.tls.get(name)))
        self.receiver.url = f"{self._origin('receiver')}/handoff"

    def _origin(self, name: str) -> str:
        scheme = "https" if name in self.tls else "http"
        return f"{scheme}://{self.pipe.public_host}:{self.links[name].port}"

    def reset(self) -> None:
        """Mends the links, too."""
        super().reset()
        for link in self.links.values():
            link.reset()

    def variables(self, step: Step, token: str | None = None, **change: str | None) -> dict[str, str]:
        """As in any scene, over the links and signed, with patience for one or two faults, and on a busy machine."""
        usual: Mapping[str, str | None] = {
            "BITBUCKET_API_URL": self._origin("api"),
            "BITBUCKET_OAUTH_URL": f"{self._origin('oauth')}/site/oauth2/access_token",
            "BITBUCKET_PROXY_URL": self._origin("insights"),
            "SIGNING_SECRET": SIGNING_SECRET,
            "TIMEOUT": "20",
            "RETRY_BUDGET": "6",
            "WAIT_TIMEOUT": "6",
        }
        return super().variables(step, token, **{**usual, **change})

    def spoil(self, point: Point, faults: Iterable[Fault]) -> None:
        """The requests at this point meet these faults, one after the other, and pass from then on."""
        self.links[point.link].spoil(point.concerns, faults)

    def hops(self, point: Point) -> list[Hop]:
        """The requests that the pipe made at this point, in order."""
        return [hop for hop in self.links[point.link].hops if point.concerns(hop.request)]

    def delivered(self) -> int:
        """How often the event reached the receiver."""
        return sum(hop.forwarded for hop in self.hops(EVENT))

    def handler_runs(self) -> list[dict[str, Any]]:
        """Every start of a handler since the test began."""
        return self.tapped("handler")

    def last_state(self, step: Step) -> str | None:
        """What the commit shows in the end; `None` where it has no build status."""
        states = self.states(step)
        return states[0][-1] if states else None

    def folder_for(self, name: str) -> Path:
        """A clone directory of its own for one run."""
        folder = self.folder / "builds" / name
        folder.mkdir(parents=True)
        return folder
