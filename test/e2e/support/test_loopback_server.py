"""The sockets that the tests' servers listen at."""

import errno
import socket

import pytest

from support.bitbucket_standin import listening_sockets

HOSTS = ("127.0.0.1", "127.0.0.2")


def test_port_that_is_taken_at_one_of_the_hosts_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    create_server = socket.create_server
    with create_server((HOSTS[1], 0)) as taken:
        offered = iter([taken.getsockname()[1]])

        def offer_the_taken_one_first(address: tuple[str, int]) -> socket.socket:
            host, port = address
            return create_server((host, port or next(offered, 0)))

        monkeypatch.setattr(socket, "create_server", offer_the_taken_one_first)
        sockets = listening_sockets(HOSTS)
        (port,) = {listening.getsockname()[1] for listening in sockets}
        assert port != taken.getsockname()[1]
    for listening in sockets:
        listening.close()


def test_port_that_was_asked_for_and_is_taken_at_one_of_the_hosts_is_an_error_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create_server = socket.create_server
    opened: list[socket.socket] = []

    def taken_at_the_second(address: tuple[str, int]) -> socket.socket:
        host, _ = address
        if host == HOSTS[1]:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        # At any port: by chance, another test's socket may have the one that is asked for.
        opened.append(create_server((host, 0)))
        return opened[-1]

    monkeypatch.setattr(socket, "create_server", taken_at_the_second)
    with pytest.raises(OSError, match="in use"):
        listening_sockets(HOSTS, 8080)
    assert opened
    assert all(listening.fileno() == -1 for listening in opened)
