"""What alembic runs: the revisions, on the connection that `store.migrate` hands in, inside its transaction."""

from alembic import context

from fastapi_handoff.store.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # SQLite's DDL is transactional too; alembic assumes that it is not
)
context.run_migrations()
