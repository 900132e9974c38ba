"""Picks the object storage that a URL names."""

from pathlib import Path
from urllib.parse import urlsplit

from infra.blobs.folder import FolderBlobs
from infra.blobs.s3 import MinioBlobs
from infra.settings import BlobsSettings
from schemas.errors import InvalidInput


def open_blobs(settings: BlobsSettings) -> FolderBlobs | MinioBlobs:
    """The storage for `file:///path` or `s3+http(s)://host:9000/bucket`. Raises `InvalidInput` for anything else."""
    address = urlsplit(settings.url)
    match address.scheme:
        case "file":
            return FolderBlobs(Path(address.netloc + address.path))
        case "s3+http" | "s3+https" if address.netloc and address.path.strip("/"):
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
