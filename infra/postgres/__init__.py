"""Postgres, the truth: connections, tables, migrations, and every SQL statement there is (`queries/`)."""
