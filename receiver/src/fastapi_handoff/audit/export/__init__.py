"""The formats in which records leave the database: one line for each record.

A format is a function from a record, as it was read and as its bytes, to the bytes of its line; `FORMATS` names them.
What belongs here says how a record is written elsewhere. Which records, and whether they are whole, is decided before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi_handoff.audit.export import jsonl, ocsf

Format = Callable[[dict[str, Any], bytes], bytes]

FORMATS: Final[dict[str, Format]] = {"jsonl": jsonl.line, "ocsf": ocsf.line}

__all__ = ["FORMATS", "Format"]
