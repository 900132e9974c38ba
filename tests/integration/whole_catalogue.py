"""Everything that stages may ask of the catalogue in Postgres, for tests that read, write and rebuild."""

from infra.postgres.catalogue.doubts import PostgresDoubts
from infra.postgres.catalogue.reader import PostgresCatalogueReader
from infra.postgres.catalogue.rebuilds import PostgresRebuildCatalogue
from infra.postgres.catalogue.writer import PostgresCatalogueWriter
from infra.postgres.database import Database


class PostgresCatalogue(PostgresCatalogueReader, PostgresCatalogueWriter, PostgresRebuildCatalogue, PostgresDoubts):
    """The four parts of the catalogue in one."""

    def __init__(self, database: Database) -> None:
        PostgresDoubts.__init__(self, database)
        PostgresCatalogueReader.__init__(self, database)
