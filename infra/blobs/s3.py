"""Object storage on MinIO or any S3 server, through the `minio` client, whose blocking calls run in threads."""

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit
from xml.etree import ElementTree

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error
from minio.helpers import check_bucket_name

from infra.blobs.keys import checked, checked_range
from infra.blobs.pipe import ChunkPipe
from schemas.errors import Conflict, DependencyUnavailable, InvalidInput, NotFound

PIECE_BYTES: Final = 1 << 20
PART_BYTES: Final = 10 << 20
"""Part size of a multipart upload. S3 allows 5 MiB to 5 GiB and 10,000 parts, so a stream may have 97 GiB."""

CONCURRENT_CALLS: Final = 32
PROBE: Final = ".welip-check"
LISTED_AT_ONCE: Final = 1000
"""The most keys that one S3 response lists."""
PUTS: Final = 3
"""How often a put is tried that the server refuses."""

_ABSENT: Final = frozenset({"NoSuchKey", "NoSuchObject"})
_BAD_KEY: Final = frozenset({"KeyTooLongError", "XMinioInvalidObjectName", "XMinioInvalidResourceName"})
_UNDER_ANOTHER: Final = frozenset({"XMinioParentIsObject", "XMinioObjectExistsAsDirectory"})


class MinioBlobs:
    """Implements `Blobs` in one bucket, which `ensure` or the first `check` creates.

    `endpoint_url` is `http(s)://host[:port]`; giving `region` saves one look-up. A server that refuses connections is
    reported at once, one that does not accept them after 5 seconds, and one that falls silent during a call after
    `timeout_s`.
    """

    def __init__(
        self,
        endpoint_url: str,
        access_key: str,
        secret_key: str,
        bucket: str,
        region: str | None = None,
        *,
        timeout_s: float = 15,
    ) -> None:
        url = urlsplit(endpoint_url)
        if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/"):
            raise InvalidInput(
                f"{endpoint_url!r} is not an S3 endpoint: give http(s)://host:port", field="endpoint_url"
            )
        try:
            check_bucket_name(bucket, strict=True)
        except ValueError as error:
            raise InvalidInput(f"{bucket!r} is not a bucket name: {error}", field="bucket") from error
        self._bucket = bucket

        def client(read_s: float, retries: int) -> Any:
            pool = urllib3.PoolManager(
                maxsize=CONCURRENT_CALLS,
                timeout=urllib3.Timeout(connect=1.5, read=read_s),
                retries=urllib3.Retry(
                    retries, read=min(retries, 1), backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)
                ),
            )
            secure = url.scheme == "https"
            return Minio(
                url.netloc,
                access_key=access_key,
                secret_key=secret_key,
                secure=secure,
                region=region,
                http_client=pool,
            )

        self._client = client(timeout_s, 2)
        self._probe_client = client(3, 0)
        # Its own threads: the upload of a slow sender occupies one for as long as it lasts.
        self._uploads = ThreadPoolExecutor(CONCURRENT_CALLS, thread_name_prefix="welip-upload")

    async def ensure(self) -> None:
        """Create the bucket unless it exists."""
        await asyncio.to_thread(self._ensure)

    async def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Store `data` under `key`."""
        await asyncio.to_thread(self._put, self._client, checked(key), data, content_type)

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "application/octet-stream"
    ) -> int:
        """Store a stream in parts of 10 MiB, a few of which are in memory; returns the bytes stored.

        When `chunks` raises, or the call is cancelled before they end, the upload is aborted.
        """
        checked(key)
        pipe = ChunkPipe()
        upload = asyncio.get_running_loop().run_in_executor(self._uploads, self._put_pipe, key, pipe, content_type)
        upload.add_done_callback(pipe.reader_gone)
        try:
            async for chunk in chunks:
                if not await pipe.feed(chunk):
                    break
            pipe.finish()
        except BaseException:
            pipe.abandon()
            with suppress(Exception):  # the sender's error is the one to report, not how the upload then ended
                await asyncio.shield(upload)
            raise
        await upload
        return pipe.fed

    async def get(self, key: str) -> bytes:
        """The bytes under `key`. Raises `NotFound`."""
        return await asyncio.to_thread(self._get, checked(key))

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start`, at most `length`, in pieces of up to 1 MiB. Raises `NotFound` at the first piece."""
        checked_range(start, length)
        response = await asyncio.to_thread(self._open, checked(key), start, length)
        if response is None:
            return
        try:
            while piece := await asyncio.to_thread(_read, key, response):
                yield piece
        finally:
            # Closed, not only released: unread bytes must not be taken for the next response.
            response.close()
            response.release_conn()

    async def names(self, prefix: str) -> AsyncGenerator[str, None]:
        """The names directly under `prefix/`: folders in ascending order, and blobs; none if it does not exist."""
        items = self._client.list_objects(self._bucket, prefix=f"{checked(prefix)}/", recursive=False)
        while page := await asyncio.to_thread(_page, prefix, items):
            for item in page:
                yield item.object_name.removeprefix(f"{prefix}/").rstrip("/")

    async def delete(self, prefix: str) -> int:
        """Remove the key `prefix` and every key under it; returns how many."""
        return await asyncio.to_thread(self._delete, checked(prefix))

    async def check(self) -> None:
        """Write a small object (`.welip-check`), creating a missing bucket first. Takes about 10 s at most."""
        await asyncio.to_thread(self._check)

    async def close(self) -> None:
        """Release threads and connections."""
        await asyncio.to_thread(self._uploads.shutdown)
        for client in (self._client, self._probe_client):
            client._http.clear()

    def _ensure(self) -> None:
        with _translated(self._bucket):
            if self._probe_client.bucket_exists(self._bucket):
                return
            try:
                self._probe_client.make_bucket(self._bucket)
            except S3Error as error:
                if error.code != "BucketAlreadyOwnedByYou":  # another process was first
                    raise

    def _check(self) -> None:
        self._ensure()
        self._put(self._probe_client, PROBE, b"", "application/octet-stream")

    def _put(self, client: Any, key: str, data: bytes, content_type: str) -> None:
        with _translated(key):
            for attempt in range(1, PUTS + 1):
                try:
                    client.put_object(self._bucket, key, io.BytesIO(data), len(data), content_type=content_type)
                    return
                except S3Error as error:
                    # MinIO also says this of a key whose folder another request is removing.
                    if error.code != "AccessDenied" or attempt == PUTS:
                        raise

    def _put_pipe(self, key: str, pipe: ChunkPipe, content_type: str) -> None:
        with _translated(key):
            self._client.put_object(
                self._bucket,
                key,
                pipe,
                length=-1,
                part_size=PART_BYTES,
                num_parallel_uploads=1,
                content_type=content_type,
            )

    def _get(self, key: str) -> bytes:
        with _translated(key):
            response = self._client.get_object(self._bucket, key)
            try:
                data: bytes = response.read()
                return data
            finally:
                response.close()
                response.release_conn()

    def _open(self, key: str, start: int, length: int | None) -> Any:
        """An open response, or None when the range holds no bytes. Raises `NotFound`."""
        with _translated(key):
            if length == 0:  # the client would read this as "to the end"
                self._client.stat_object(self._bucket, key)
                return None
            try:
                return self._client.get_object(self._bucket, key, offset=start, length=length or 0)
            except S3Error as error:
                if error.code == "InvalidRange":
                    return None
                raise

    def _delete(self, prefix: str) -> int:
        with _translated(prefix):
            removed = 0
            with suppress(NotFound), _translated(prefix):
                self._client.stat_object(self._bucket, prefix)
                self._client.remove_object(self._bucket, prefix)
                removed += 1
            names = [
                item.object_name
                for item in self._client.list_objects(self._bucket, prefix=f"{prefix}/", recursive=True)
            ]
            failed = list(self._client.remove_objects(self._bucket, map(DeleteObject, names)))
            if failed:
                raise DependencyUnavailable(
                    f"{len(failed)} blobs under {prefix!r} were not removed: {failed[0].message}"
                )
            return removed + len(names)


def _read(key: str, response: Any) -> bytes:
    with _translated(key):
        piece: bytes = response.read(PIECE_BYTES)
        return piece


def _page(prefix: str, items: Iterator[Any]) -> list[Any]:
    with _translated(prefix):
        return list(islice(items, LISTED_AT_ONCE))


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code in _ABSENT:
            raise NotFound(f"there is no blob {what!r}") from error
        if error.code in _UNDER_ANOTHER:
            raise Conflict(f"{what!r} would lie under, or over, another blob") from error
        if error.code in _BAD_KEY:
            raise InvalidInput(f"{what!r} is not a blob key: {error.message}", field="key") from error
        raise DependencyUnavailable(f"object storage refused {what!r}: {error.code}: {error.message}") from error
    except (InvalidResponseError, ElementTree.ParseError) as error:
        raise DependencyUnavailable(f"no S3 server answers here, or it is failing: {error}") from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise DependencyUnavailable(f"object storage does not answer: {error}") from error
