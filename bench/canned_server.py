"""Answers the whole flow without doing any of it, so that what is measured is the client.

One process, raw sockets, answers made beforehand. Prints its port, serves until its standard input closes.
"""

import argparse
import asyncio
import re
import ssl
import sys

TOKEN = (
    b'{"access_token":"canned","issued_token_type":"urn:ietf:params:oauth:token-type:access_token",'
    b'"token_type":"DPoP","expires_in":300,"scope":"x"}'
)


def answer(head: bytes, sent: bytes) -> bytes:
    """The answer for a request: its head, and the body that was sent."""
    path = head.split(b" ", 2)[1]
    if path.endswith(b"/token"):
        status, body = b"200 OK", TOKEN
    elif path.endswith(b"/events"):
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if b": " in line)
        status, body = b"200 OK", b'{"id":"%s","state":"succeeded"}' % fields[b"webhook-id"]
    else:
        # Bitbucket answers a status with the status.
        status, body = b"201 Created", sent
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
    return head + body


class Conversation(asyncio.Protocol):
    """One connection. Not a stream: what its reader takes would be counted as the client's time."""

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where the answers go."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self.received += data
        while (end := self.received.find(b"\r\n\r\n") + 4) > 3:
            head = self.received[:end]
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            whole = end + (int(length[1]) if length else 0)
            if len(self.received) < whole:
                return
            sent, self.received = self.received[end:whole], self.received[whole:]
            self.transport.write(answer(head, sent))


async def main() -> None:
    """Serve."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--host", default="127.0.0.1")
    arguments.add_argument("--certificate")
    arguments.add_argument("--key")
    given = arguments.parse_args()
    tls = None
    if given.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        tls.load_cert_chain(given.certificate, given.key)
    server = await asyncio.get_running_loop().create_server(Conversation, given.host, 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
