"""The tables of version 0.1."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "subject_token_bindings",
        sa.Column("issuer", sa.Text, nullable=False, comment="`iss`"),
        sa.Column(
            "replay_key", sa.Text, nullable=False, comment="what makes a subject token of this issuer the only one"
        ),
        sa.Column("jkt", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False, comment="unix seconds"),
        sa.PrimaryKeyConstraint("issuer", "replay_key", name="pk_subject_token_bindings"),
    )
    op.create_index("ix_subject_token_bindings_expires_at", "subject_token_bindings", ["expires_at"])

    op.create_table(
        "proof_ids",
        sa.Column("jkt", sa.Text, nullable=False),
        sa.Column("jti", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False, comment="unix seconds"),
        sa.PrimaryKeyConstraint("jkt", "jti", name="pk_proof_ids"),
    )
    op.create_index("ix_proof_ids_expires_at", "proof_ids", ["expires_at"])

    op.create_table(
        "public_keys",
        sa.Column("kid", sa.Text, nullable=False),
        sa.Column("jwk", sa.Text, nullable=False, comment="JSON"),
        sa.Column("not_after", sa.BigInteger, nullable=False, comment="unix seconds"),
        sa.PrimaryKeyConstraint("kid", name="pk_public_keys"),
    )
    op.create_index("ix_public_keys_not_after", "public_keys", ["not_after"])

    op.create_table(
        "receipts",
        sa.Column("issuer", sa.Text, nullable=False, comment="`iss` of whoever attested the caller"),
        sa.Column("source", sa.Text, nullable=False, comment="the attested id of where the event comes from"),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False, comment="`sub`"),
        sa.Column("content_digest", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("scope", sa.Text),
        sa.Column("body", sa.LargeBinary, nullable=False, comment="the event as received"),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("result", sa.Text, comment="JSON"),
        sa.Column("identity", sa.Text, nullable=False, comment="JSON"),
        sa.Column("asserted", sa.Text, nullable=False, comment="JSON"),
        sa.Column("trace_id", sa.Text),
        sa.Column("lease_owner", sa.Text),
        sa.Column("lease_until", sa.BigInteger, comment="unix microseconds"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False, comment="unix microseconds"),
        sa.Column("completed_at", sa.BigInteger, comment="unix microseconds"),
        sa.Column("audit_seq", sa.BigInteger, nullable=False),
        sa.Column("audit_hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("issuer", "source", "event_id", name="pk_receipts"),
    )
    leased = sa.text("lease_until IS NOT NULL")
    op.create_index(
        "ix_receipts_lease_until", "receipts", ["lease_until"], sqlite_where=leased, postgresql_where=leased
    )

    op.create_table(
        "audit_records",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=False),
        sa.Column("prev_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column(
            "record", sa.Text, nullable=False, comment="RFC 8785 JSON; hash is SHA-256 of exactly its UTF-8 bytes"
        ),
        sa.Column("time", sa.BigInteger, nullable=False, comment="unix microseconds"),
        sa.Column("issuer", sa.Text),
        sa.Column("source", sa.Text),
        sa.Column("actor", sa.Text, comment="`sub`"),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("event_id", sa.Text),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_records"),
        sa.UniqueConstraint("prev_hash", name="uq_audit_records_prev_hash"),
        sa.UniqueConstraint("hash", name="uq_audit_records_hash"),
    )
    op.create_index("ix_audit_records_time", "audit_records", ["time"])
    op.create_index("ix_audit_records_source", "audit_records", ["source", "seq"])
    op.create_index("ix_audit_records_event_id", "audit_records", ["event_id"])
