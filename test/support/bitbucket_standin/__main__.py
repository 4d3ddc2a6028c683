"""`python -m bitbucket_standin`: serves until SIGTERM or SIGINT, and prints one line of JSON with its URLs once it answers."""

import argparse
import json
import signal

from .standin import BitbucketStandin


def main() -> None:
    """Reads the options, serves, ends."""
    parser = argparse.ArgumentParser(prog="bitbucket_standin", description=__doc__)
    parser.add_argument("--host", action="append", help="address to listen on; may be given several times")
    parser.add_argument("--port", type=int, default=0, help="port of the API; 0 takes a free one")
    parser.add_argument("--public-host", help="name by which others reach it, where that is not --host")
    options = parser.parse_args()
    # Blocked before any thread starts, so that every thread leaves them to the wait below.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    hosts = options.host or ["127.0.0.1"]
    with BitbucketStandin(hosts, port=options.port, public_host=options.public_host) as standin:
        print(json.dumps(standin.urls()), flush=True)  # noqa: T201 - this line is the program's output
        signal.sigwait(ends)


main()
