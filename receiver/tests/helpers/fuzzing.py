"""How many examples a test with made-up input tries: some for each change, FUZZ_TIMES as many in `make campaign`."""

import os

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))


def examples(number: int) -> int:
    """Return the number of examples for this run."""
    return number * TIMES
