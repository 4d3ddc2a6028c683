"""A port for a process that is started more than once."""

import socket


def kept_port() -> socket.socket:
    """Bound and silent. A server that sets SO_REUSEADDR, as uvicorn does, can take its port; nothing else can.

    A port that was merely free a moment ago may go to any connection before the server starts, or between two starts.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return kept
