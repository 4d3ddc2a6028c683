"""What a reviewer gets: comparison, tests and lint put together, and told to people and to machines.

Here belong the verdict, its sentences, the formats (JSON, SARIF, Code Insights, pictures), and the replay of the audit.
Not here: what is found (`policy.compare`, `policy.lint`, `policy.cases`), and where it is read from or sent to (`cli`).
"""

from fastapi_handoff.policy.review import code_insights, graph, sarif, words
from fastapi_handoff.policy.review.replay import ACTION, Replay, replay
from fastapi_handoff.policy.review.report import Replayed, Report, ReportedChange, ReportedReplay, report_schema_text
from fastapi_handoff.policy.review.verdict import (
    Base,
    Review,
    as_report,
    grant_of,
    reported_file,
    reported_finding,
    reported_grants,
    reported_scopes,
    reported_test,
    review,
)

__all__ = [
    "ACTION",
    "Base",
    "Replay",
    "Replayed",
    "Report",
    "ReportedChange",
    "ReportedReplay",
    "Review",
    "as_report",
    "code_insights",
    "grant_of",
    "graph",
    "replay",
    "report_schema_text",
    "reported_file",
    "reported_finding",
    "reported_grants",
    "reported_scopes",
    "reported_test",
    "review",
    "sarif",
    "words",
]
