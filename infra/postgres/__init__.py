"""Postgres, the source of truth: connections, tables, migrations, and every SQL statement (`queries/`)."""
