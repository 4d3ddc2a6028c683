"""A link with a delay between two network namespaces of its own, made of two TUN devices and a queue in between.

Whole IP packets wait, so handshakes are delayed like everything else; no kernel module for it is needed. Needs root.
Run as a program: `slow_link.py NEAR FAR MILLISECONDS`, prints a line when the link is up, serves until its input closes.
"""

import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

NEAR_ADDRESS, FAR_ADDRESS = "10.77.0.1", "10.77.0.2"
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def namespaces() -> Iterator[tuple[str, str]]:
    """Two namespaces with nothing but loopback, gone afterwards with all that is in them."""
    names = (f"handoff-near-{os.getpid()}", f"handoff-far-{os.getpid()}")
    for name in names:
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
    try:
        yield names
    finally:
        for name in names:
            _ip("netns", "del", name)


def _tun(namespace: str, address: str, peer: str) -> int:
    """A TUN device in a namespace, whose packets this process reads and writes."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    name = f"slow{os.getpid() % 100000}{'a' if address == NEAR_ADDRESS else 'b'}"
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    _ip("link", "set", name, "netns", namespace)
    _ip("-n", namespace, "addr", "add", address, "peer", peer, "dev", name)
    _ip("-n", namespace, "link", "set", name, "up")
    return descriptor


def forward(near: int, far: int, delay: float) -> None:
    """Pass packets both ways, each `delay` seconds late."""
    other = {near: far, far: near}
    waiting: list[tuple[float, int, int, bytes]] = []
    number = 0
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select([near, far, sys.stdin], [], [], pause)
        if sys.stdin in ready:
            return
        for descriptor in ready:
            packet = os.read(descriptor, 65536)
            number += 1
            heapq.heappush(waiting, (time.monotonic() + delay, number, other[descriptor], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, to, packet = heapq.heappop(waiting)
            os.write(to, packet)


def main() -> None:
    """Make the devices and forward."""
    near_namespace, far_namespace, milliseconds = sys.argv[1:]
    near = _tun(near_namespace, NEAR_ADDRESS, FAR_ADDRESS)
    far = _tun(far_namespace, FAR_ADDRESS, NEAR_ADDRESS)
    print("up", flush=True)
    forward(near, far, int(milliseconds) / 1000)


if __name__ == "__main__":
    main()
