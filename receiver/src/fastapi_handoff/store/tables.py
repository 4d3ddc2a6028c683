"""The tables. All times are integers, in the unit that the column's comment names.

A database's own date type would round: what is hashed must be what is stored.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from fastapi_handoff.store.text import storable

VERSION_TABLE = "fastapi_handoff_schema"
"""Where Alembic keeps the revision: the app may use Alembic's usual name for tables of its own in the same database."""

metadata = MetaData(
    naming_convention={  # so that a later migration can name what an earlier one made
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)


class StoredText(TypeDecorator[str]):
    """Text that every database takes.

    PostgreSQL refuses NUL and no driver takes a lone surrogate: without this, a handler's error message that holds
    one would be an outcome that cannot be recorded.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Give the text as it will be stored."""
        return None if value is None else storable(value)

    @property
    def python_type(self) -> type[Any]:
        """The type a row gives back."""
        return str


# INTEGER PRIMARY KEY is SQLite's own row id: no second index, and no text where a number belongs.
Sequence = BigInteger().with_variant(Integer(), "sqlite")


def where_not_null(column: str) -> dict[str, Any]:
    """Options of an index over the rows only where `column` has a value."""
    condition = text(f"{column} IS NOT NULL")
    return {"sqlite_where": condition, "postgresql_where": condition}


subject_token_bindings = Table(
    "subject_token_bindings",
    metadata,
    Column("issuer", StoredText, nullable=False, comment="`iss`"),
    Column("replay_key", StoredText, nullable=False, comment="what makes a subject token of this issuer the only one"),
    Column("jkt", StoredText, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True, comment="unix seconds"),
    PrimaryKeyConstraint("issuer", "replay_key"),
)

proof_ids = Table(
    "proof_ids",
    metadata,
    Column("jkt", StoredText, nullable=False),
    Column("jti", StoredText, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True, comment="unix seconds"),
    PrimaryKeyConstraint("jkt", "jti"),
)

public_keys = Table(
    "public_keys",
    metadata,
    Column("kid", StoredText, primary_key=True),
    Column("jwk", StoredText, nullable=False, comment="JSON"),
    Column("not_after", BigInteger, nullable=False, index=True, comment="unix seconds"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("issuer", StoredText, nullable=False, comment="`iss` of whoever attested the caller"),
    Column("source", StoredText, nullable=False, comment="the attested id of where the event comes from"),
    Column("event_id", StoredText, nullable=False),
    Column("subject", StoredText, nullable=False, comment="`sub`"),
    Column("content_digest", StoredText, nullable=False),
    Column("event_type", StoredText, nullable=False),
    Column("scope", StoredText),
    Column("body", LargeBinary, nullable=False, comment="the event as received"),
    Column("state", StoredText, nullable=False),
    Column("detail", StoredText),
    Column("result", StoredText, comment="JSON"),
    Column("identity", StoredText, nullable=False, comment="JSON"),
    Column("asserted", StoredText, nullable=False, comment="JSON"),
    Column("trace_id", StoredText),
    Column("lease_owner", StoredText),
    Column("lease_until", BigInteger, comment="unix microseconds"),
    Column("attempts", Integer, nullable=False, default=0),
    Column("received_at", BigInteger, nullable=False, comment="unix microseconds"),
    Column("completed_at", BigInteger, comment="unix microseconds"),
    Column("audit_seq", BigInteger, nullable=False),
    Column("audit_hash", StoredText, nullable=False),
    # No two issuers, and no two sources of one, ever meet in a row.
    PrimaryKeyConstraint("issuer", "source", "event_id"),
    # Partial: looking for ended leases does not read every receipt ever given.
    Index(None, "lease_until", **where_not_null("lease_until")),
)

audit_records = Table(
    "audit_records",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=False),
    # UNIQUE on both: should the lock that serialises appends ever fail, the chain still cannot fork.
    Column("prev_hash", StoredText, nullable=False),
    Column("hash", StoredText, nullable=False),
    Column("record", StoredText, nullable=False, comment="RFC 8785 JSON; hash is SHA-256 of exactly its UTF-8 bytes"),
    # Copies of what `record` says, for filters. `audit verify` compares them with it.
    Column("time", BigInteger, nullable=False, comment="unix microseconds"),
    Column("issuer", StoredText),
    Column("source", StoredText),
    Column("actor", StoredText, comment="`sub`"),
    Column("action", StoredText, nullable=False),
    Column("decision", StoredText, nullable=False),
    Column("code", StoredText),
    Column("event_id", StoredText),
    UniqueConstraint("prev_hash"),
    UniqueConstraint("hash"),
    Index(None, "time"),
    Index(None, "source", "seq"),
    Index(None, "event_id"),
)
