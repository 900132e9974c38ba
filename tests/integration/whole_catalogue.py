"""All that stages may ask of the catalogue in Postgres, for tests that read, write and rebuild."""

from infra.postgres.catalogue.reader import PostgresCatalogueReader
from infra.postgres.catalogue.rebuilds import PostgresRebuildCatalogue
from infra.postgres.catalogue.writer import PostgresCatalogueWriter


class PostgresCatalogue(PostgresCatalogueReader, PostgresCatalogueWriter, PostgresRebuildCatalogue):
    """Its three parts as one."""
