"""A link that misbehaves as it is told: an HTTP/1.1 proxy, plain or under TLS, between the pipe and one of its servers."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPResponse
from types import TracebackType
from typing import Self

from support.bitbucket_standin import listening_sockets

_SECONDS = 30
"""No socket of a test is waited for longer: a test that hangs must fail."""


@dataclass(frozen=True)
class Request:
    """A request as it came in; the names of `headers` are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    def encoded(self) -> bytes:
        """For the server behind the link, on a connection of its own."""
        head = [f"{self.method} {self.target} HTTP/1.1"]
        head += [f"{name}: {value}" for name, value in self.headers.items() if name != "connection"]
        return "\r\n".join([*head, "connection: close", "", ""]).encode("latin-1") + self.body


@dataclass(frozen=True)
class Answer:
    """An answer; the names of `headers` are in lower case, and `content-length` is not among them."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def encoded(self) -> bytes:
        """As it goes over the link."""
        head = [f"HTTP/1.1 {self.status} Whatever"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        head += [f"content-length: {len(self.body)}", "", ""]
        return "\r\n".join(head).encode("latin-1") + self.body


class Hop:
    """One request on its way over the link, in the hands of the fault that befalls it."""

    def __init__(self, request: Request, connection: socket.socket, upstream: tuple[str, int]) -> None:
        self.request = request
        self.forwarded = 0
        self.is_last = False
        self._connection = connection
        self._upstream = upstream

    def forward(self) -> Answer:
        """Hands the request to the server behind the link, and gives its answer."""
        self.forwarded += 1
        with socket.create_connection(self._upstream, _SECONDS) as server:
            server.sendall(self.request.encoded())
            response = HTTPResponse(server, method=self.request.method)
            response.begin()
            body = response.read()
        dropped = {"connection", "content-length", "transfer-encoding"}
        headers = {name.lower(): value for name, value in response.getheaders() if name.lower() not in dropped}
        return Answer(response.status, headers, body)

    def answer(self, answer: Answer) -> None:
        """Answers the pipe."""
        self.write(answer.encoded())

    def write(self, data: bytes) -> None:
        """Sends the pipe any bytes."""
        self._connection.sendall(data)

    def hang_up(self) -> None:
        """Ends the connection the polite way, after what was written so far."""
        self.is_last = True

    def reset(self) -> None:
        """Breaks the connection off."""
        self.is_last = True
        _reset_on_close(self._connection)

    def wait_for_hangup(self) -> None:
        """Says nothing more until the pipe gives up."""
        self.is_last = True
        with suppress(OSError):
            while self._connection.recv(4096):
                pass


Fault = Callable[[Hop], None]
"""What happens to one request. It must answer it, or end the connection."""


def passing(hop: Hop) -> None:
    """No fault: the server's own answer."""
    hop.answer(hop.forward())


@dataclass
class _Plan:
    concerns: Callable[[Request], bool]
    faults: Iterator[Fault]


class FaultyLink:
    """Listens from the constructor on, works from `start()` to `stop()`; `hops` is all that came over it, in order.

    Without a plan, every request passes. `tls` makes it a TLS server.
    """

    def __init__(self, hosts: Sequence[str], upstream: tuple[str, int], *, tls: ssl.SSLContext | None = None) -> None:
        self._hosts = hosts
        self._sockets = listening_sockets(hosts)
        self.port: int = self._sockets[0].getsockname()[1]
        self._upstream = upstream
        self.tls = tls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.reset()

    def reset(self) -> None:
        """Forgets what came in, and all plans."""
        with self._lock:
            self.hops: list[Hop] = []
            self.connections = 0
            self._plans: list[_Plan] = []
            self._unread: set[int] = set()

    def spoil(self, concerns: Callable[[Request], bool], faults: Iterable[Fault]) -> None:
        """The requests that `concerns` picks meet these faults, one after the other, and pass from then on."""
        self._plans.append(_Plan(concerns, iter(faults)))

    def break_connections(self, numbers: Iterable[int]) -> None:
        """The connections of these numbers (the first is 1) are reset with whatever came over them unread."""
        self._unread |= set(numbers)

    def start(self) -> Self:
        """Begins to take connections."""
        for listening in self._sockets:
            threading.Thread(target=self._accept, args=(listening,), daemon=True).start()
        return self

    def settle(self) -> None:
        """Waits, once the pipe has ended, for what is still on its way to the server."""
        while self._threads:
            self._threads.pop().join(_SECONDS)

    def refuse(self) -> None:
        """Nobody listens any more, until `listen_again()`; connections under way go on."""
        _end(self._sockets)

    def listen_again(self) -> None:
        """At the same port."""
        self._sockets = listening_sockets(self._hosts, self.port)
        self.start()

    def stop(self) -> None:
        """Ends everything, connections under way included."""
        with self._lock:
            _end([*self._sockets, *self._open])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with self._lock:
                    self.connections += 1
                    is_broken = self.connections in self._unread
                    self._open.add(connection)
                if is_broken:
                    _reset_on_close(connection)
                    self._close(connection)
                else:
                    thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _serve(self, plain: socket.socket) -> None:
        connection = plain
        # Whatever the pipe does to the connection is its own business: what it says about it is what a test looks at.
        with suppress(OSError):
            connection.settimeout(_SECONDS)
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open.add(connection)
            while (request := _read(connection)) is not None:
                hop = Hop(request, connection, self._upstream)
                with self._lock:
                    self.hops.append(hop)
                    fault = self._fault_for(request)
                fault(hop)
                if hop.is_last:
                    break
        self._close(connection)

    def _fault_for(self, request: Request) -> Fault:
        for plan in self._plans:
            if plan.concerns(request):
                return next(plan.faults, passing)
        return passing

    def _close(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()


def _end(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


def _reset_on_close(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _read(connection: socket.socket) -> Request | None:
    """The next request, or `None` where the pipe hung up."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        if not (more := connection.recv(65536)):
            return None
        body += more
    return Request(method, target, headers, body)
