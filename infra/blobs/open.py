"""Picks the object storage that a URL names."""

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from infra.blobs.folder import FolderBlobs
from infra.settings import BlobsSettings
from schemas.errors import InvalidInput

if TYPE_CHECKING:
    from infra.blobs.s3 import MinioBlobs


def open_blobs(settings: BlobsSettings) -> "FolderBlobs | MinioBlobs":
    """The storage for `file:///path` or `s3+http(s)://host:9000/bucket`. Raises `InvalidInput` for anything else."""
    address = urlsplit(settings.url)
    match address.scheme:
        case "file":
            return FolderBlobs(Path(address.netloc + address.path))
        case "s3+http" | "s3+https" if address.netloc and address.path.strip("/"):
            # Imported here: its client takes a tenth of the start of a process that has a folder instead.
            from infra.blobs.s3 import MinioBlobs

            return MinioBlobs(
                f"{address.scheme.removeprefix('s3+')}://{address.netloc}",
                settings.access_key.get_secret_value(),
                settings.secret_key.get_secret_value(),
                address.path.strip("/"),
            )
        case _:
            raise InvalidInput(
                f"WELIP_BLOBS_URL={settings.url!r}: give file:///path or s3+http://host:port/bucket",
                field="WELIP_BLOBS_URL",
            )
