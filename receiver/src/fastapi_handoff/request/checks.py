"""The trace of checks of one request, in the order they ran."""

from __future__ import annotations

from fastapi_handoff.request.refusal import Check, Refusal

_TEXT_CHARACTERS = 200


def shown(value: object) -> str | None:
    """Return a value as the trace shows it: text of bounded length, `None` for what is absent."""
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _TEXT_CHARACTERS else f"{text[:_TEXT_CHARACTERS]}…"


class Checks(list[Check]):
    """The checks of a request. The client sees them once they are `disclosed`.

    What a check expected is part of the policy, and a stranger who probes it must learn nothing: they are disclosed
    when the caller is authenticated.
    """

    disclosed = False

    def passed(self, check: str, value: object, *, expected: object = None) -> None:
        """Note a check that went well; without `expected`, `value` is what was expected."""
        got = shown(value)
        self.append(Check(check, got if expected is None else shown(expected), got, ok=True))

    def refuse(self, check: str, expected: object, got: object, code: str, detail: str) -> Refusal:
        """Note a check that failed, and return the refusal for the caller to raise."""
        row = Check(check, shown(expected), shown(got), ok=False)
        self.append(row)
        return Refusal(code, detail, check=row)
