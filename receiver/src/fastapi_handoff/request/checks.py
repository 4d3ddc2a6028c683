"""The checks of one request, in the order they ran."""

from __future__ import annotations

from fastapi_handoff.request.refusal import Check, Refusal

_TEXT_CHARACTERS = 200


def shown(value: object) -> str | None:
    """A value as a trace shows it: text of bounded length, or `None` for what is absent."""
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _TEXT_CHARACTERS else f"{text[:_TEXT_CHARACTERS]}…"


class Trace(list[Check]):
    """A list of checks, shown to the client only once it is `disclosed`: expectations are for the authenticated."""

    disclosed = False

    def passed(self, check: str, value: object, *, expected: object = None) -> None:
        """Note a check that went well."""
        got = shown(value)
        self.append(Check(check, got if expected is None else shown(expected), got, ok=True))

    def refuse(self, check: str, expected: object, got: object, code: str, detail: str) -> Refusal:
        """Note a check that failed, and give the refusal to raise."""
        row = Check(check, shown(expected), shown(got), ok=False)
        self.append(row)
        return Refusal(code, detail, check=row)
