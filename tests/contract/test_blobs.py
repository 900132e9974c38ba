"""What every `Blobs` must do, and what can go wrong in only one of them."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from consumers.stages.ports import Blobs
from infra.blobs.folder import FolderBlobs
from infra.blobs.pipe import BrokenStreamError, ChunkPipe
from infra.blobs.s3 import PART_BYTES, MinioBlobs
from infra.local.minio import MinioServer
from schemas.errors import Conflict, DependencyUnavailable, InvalidInput, NotFound
from tests.freezing import freeze, thaw
from tests.servers import skip_unless_minio

MIB = 1 << 20


async def pieces(*chunks: bytes, then: BaseException | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk
    if then:
        raise then


async def read(blobs: Blobs, key: str, **span: int | None) -> bytes:
    return b"".join([piece async for piece in blobs.stream(key, **span)])


class TestEveryStore:
    async def test_what_was_put_is_got_back(self, blobs: Blobs) -> None:
        await blobs.put("t/a.json", b'{"a": 1}', content_type="application/json")
        assert await blobs.get("t/a.json") == b'{"a": 1}'

    async def test_a_second_put_replaces_the_first(self, blobs: Blobs) -> None:
        await blobs.put("t/a", b"a longer first version")
        await blobs.put("t/a", b"second")
        assert await blobs.get("t/a") == b"second"
        assert await read(blobs, "t/a") == b"second"

    async def test_an_empty_blob_exists(self, blobs: Blobs) -> None:
        await blobs.put("t/empty", b"")
        assert await blobs.get("t/empty") == b""
        assert await read(blobs, "t/empty") == b""
        assert await blobs.put_stream("t/none", pieces()) == 0
        assert await blobs.get("t/none") == b""

    async def test_names_are_listed_in_order_and_one_level_deep(self, blobs: FolderBlobs | MinioBlobs) -> None:
        for key in ("jobs/b/1/x", "jobs/a/1/x", "jobs/a/2/y", "jobless/d", "files/f", "files/e"):
            await blobs.put(f"t/{key}", b"")
        assert [name async for name in blobs.names("t/jobs")] == ["a", "b"]
        assert [name async for name in blobs.names("t/jobs/a")] == ["1", "2"]
        assert [name async for name in blobs.names("t/files")] == ["e", "f"]
        assert [name async for name in blobs.names("t/files/e")] == []
        assert [name async for name in blobs.names("t/absent")] == []

    async def test_names_need_not_be_read_to_their_end(self, blobs: FolderBlobs | MinioBlobs) -> None:
        for n in range(5):
            await blobs.put(f"t/{n}/x", b"")
        async with aclosing(blobs.names("t")) as names:
            assert await anext(names) == "0"

    async def test_more_names_than_one_answer_holds_are_listed(self, blobs: FolderBlobs | MinioBlobs) -> None:
        count = 1_100
        await asyncio.gather(*(blobs.put(f"many/{n:04d}/x", b"") for n in range(count)))
        assert [name async for name in blobs.names("many")] == [f"{n:04d}" for n in range(count)]

    @pytest.mark.parametrize(
        "key", ["가나다/라마.txt", "emoji/🙂🧑‍🚀", "with space/a+b&c=%25?#.txt", "x" * 255, ".hidden/a..b"]
    )
    async def test_keys_may_hold_any_writing(self, blobs: Blobs, key: str) -> None:
        await blobs.put(key, key.encode())
        assert await blobs.get(key) == key.encode()
        assert await read(blobs, key) == key.encode()
        assert await blobs.delete(key) == 1

    @pytest.mark.parametrize(
        "key",
        ["", "/", "/etc/passwd", "../up", "a/../../up", "a/./b", "a//b", "a/", "a\\b", "a\x00b", "a\nb", "\ud800",
         "x" * 256, "y/" * 600 + "z"],
    )  # fmt: skip
    async def test_a_bad_key_is_refused_everywhere(self, blobs: Blobs, key: str) -> None:
        with pytest.raises(InvalidInput):
            await blobs.put(key, b"x")
        with pytest.raises(InvalidInput):
            await blobs.put_stream(key, pieces(b"x"))
        with pytest.raises(InvalidInput):
            await blobs.get(key)
        with pytest.raises(InvalidInput):
            await read(blobs, key)
        with pytest.raises(InvalidInput):
            await blobs.delete(key)

    async def test_what_is_absent_is_not_found(self, blobs: Blobs) -> None:
        await blobs.put("t/folder/a", b"x")
        for key in ("t/nothing", "t/folder", "t/folder/a/b", "elsewhere"):
            with pytest.raises(NotFound):
                await blobs.get(key)
            with pytest.raises(NotFound):
                await read(blobs, key)
            with pytest.raises(NotFound):
                await read(blobs, key, length=0)

    async def test_ranges(self, blobs: Blobs) -> None:
        await blobs.put("t/digits", b"0123456789")
        assert await read(blobs, "t/digits", start=3) == b"3456789"
        assert await read(blobs, "t/digits", start=3, length=4) == b"3456"
        assert await read(blobs, "t/digits", length=1) == b"0"
        assert await read(blobs, "t/digits", start=8, length=100) == b"89"
        assert await read(blobs, "t/digits", start=2, length=0) == b""
        assert await read(blobs, "t/digits", start=10) == b""
        assert await read(blobs, "t/digits", start=1000, length=5) == b""
        for span in ({"start": -1}, {"length": -1}):
            with pytest.raises(InvalidInput):
                await read(blobs, "t/digits", **span)

    async def test_a_large_stream_arrives_whole_and_leaves_in_pieces(self, blobs: Blobs) -> None:
        block = os.urandom(MIB)
        size = 2 * PART_BYTES + 12_345
        chunks = [block] * (size // MIB) + [block[: size % MIB], b""]
        assert await blobs.put_stream("t/large", pieces(*chunks)) == size
        got = [piece async for piece in blobs.stream("t/large")]
        assert max(map(len, got)) <= MIB
        assert b"".join(got) == b"".join(chunks)
        assert await read(blobs, "t/large", start=size - 10) == b"".join(chunks)[-10:]

    async def test_a_reader_may_leave_in_the_middle(self, blobs: Blobs) -> None:
        await blobs.put("t/large", os.urandom(8 * MIB))
        stream = blobs.stream("t/large")
        assert await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        assert await read(blobs, "t/large", start=8 * MIB - 1) != b""

    @pytest.mark.parametrize("size", [10, PART_BYTES * 2], ids=["in the first part", "after the first part"])
    async def test_a_failed_stream_leaves_nothing_and_its_error_passes_through(self, blobs: Blobs, size: int) -> None:
        reason = ConnectionAbortedError("the client left")
        chunks = [b"x" * min(size, MIB)] * max(1, size // MIB)
        with pytest.raises(ConnectionAbortedError) as raised:
            await blobs.put_stream("t/broken", pieces(*chunks, then=reason))
        assert raised.value is reason
        with pytest.raises(NotFound):
            await blobs.get("t/broken")

    async def test_a_failed_stream_keeps_what_was_there(self, blobs: Blobs) -> None:
        await blobs.put("t/kept", b"first")
        with pytest.raises(ValueError, match="no"):
            await blobs.put_stream("t/kept", pieces(b"second", then=ValueError("no")))
        assert await blobs.get("t/kept") == b"first"

    async def test_a_cancelled_stream_leaves_nothing(self, blobs: Blobs) -> None:
        halfway, never = asyncio.Event(), asyncio.Event()

        async def stalled() -> AsyncIterator[bytes]:
            yield b"x" * (PART_BYTES + MIB)
            halfway.set()
            await never.wait()

        upload = asyncio.create_task(blobs.put_stream("t/cancelled", stalled()))
        await asyncio.wait_for(halfway.wait(), 60)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        with pytest.raises(NotFound):
            await blobs.get("t/cancelled")

    async def test_delete_takes_the_key_and_what_lies_under_it_only(self, blobs: Blobs) -> None:
        for key in ("t/job", "t/job2/a", "t/jo"):
            await blobs.put(key, b"x")
        assert await blobs.delete("t/job") == 1
        for key in ("t/job/1/a", "t/job/1/b", "t/job/2/c/d"):
            await blobs.put(key, b"x")
        assert await blobs.delete("t/job") == 3
        assert await blobs.delete("t/job") == 0
        assert await blobs.delete("t/job/1/a") == 0
        assert await blobs.get("t/job2/a") == await blobs.get("t/jo") == b"x"

    async def test_delete_of_many(self, blobs: Blobs) -> None:
        await asyncio.gather(*(blobs.put(f"t/many/{n}", b"x") for n in range(1100)))
        assert await blobs.delete("t/many") == 1100
        with pytest.raises(NotFound):
            await blobs.get("t/many/0")

    async def test_readers_see_one_version_whole_while_writers_replace_it(self, blobs: Blobs) -> None:
        versions = [bytes([n]) * (300_000 + n) for n in range(8)]
        await blobs.put("t/contended", versions[0])

        async def read_whole() -> None:
            for _ in range(5):
                assert await blobs.get("t/contended") in versions

        await asyncio.gather(*(blobs.put("t/contended", v) for v in versions), *(read_whole() for _ in range(4)))

    async def test_puts_survive_a_delete_of_their_prefix_at_the_same_time(self, blobs: Blobs) -> None:
        async def put_many() -> None:
            for n in range(30):
                await blobs.put(f"t/race/deep/{n}", b"x")

        async def delete_many() -> None:
            for _ in range(30):
                await blobs.delete("t/race")

        await asyncio.gather(put_many(), delete_many())
        await blobs.put("t/race/deep/last", b"x")
        assert await blobs.get("t/race/deep/last") == b"x"

    async def test_many_streams_at_once(self, blobs: Blobs) -> None:
        sizes = await asyncio.gather(*(blobs.put_stream(f"t/s/{n}", pieces(b"x" * n, b"y")) for n in range(50)))
        assert sizes == [n + 1 for n in range(50)]
        assert await blobs.get("t/s/49") == b"x" * 49 + b"y"

    async def test_check_passes_where_the_store_works(self, blobs: Blobs) -> None:
        await blobs.check()


class TestFolder:
    async def test_blobs_survive_a_restart_and_nothing_half_written_stays(self, tmp_path: Path) -> None:
        await FolderBlobs(tmp_path).put("t/a", b"x")
        with pytest.raises(ValueError, match="no"):
            await FolderBlobs(tmp_path).put_stream("t/b", pieces(b"x", then=ValueError("no")))
        assert await FolderBlobs(tmp_path).get("t/a") == b"x"
        assert list((tmp_path / "incoming").iterdir()) == []

    async def test_what_a_dead_process_left_is_swept_when_old(self, tmp_path: Path) -> None:
        FolderBlobs(tmp_path)
        old, young = tmp_path / "incoming" / "old", tmp_path / "incoming" / "young"
        old.touch()
        young.touch()
        os.utime(old, (time.time() - 2 * 86_400,) * 2)
        FolderBlobs(tmp_path)
        assert not old.exists()
        assert young.exists()

    async def test_a_key_cannot_lie_under_another_key(self, tmp_path: Path) -> None:
        blobs = FolderBlobs(tmp_path)
        await blobs.put("t/a", b"x")
        await blobs.put("t/b/c", b"x")
        for key in ("t/a/under", "t/a/under/deep", "t/b"):
            with pytest.raises(Conflict):
                await blobs.put(key, b"y")
        assert await blobs.get("t/a") == await blobs.get("t/b/c") == b"x"
        assert list((tmp_path / "incoming").iterdir()) == []

    async def test_a_folder_that_cannot_be_made_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(DependencyUnavailable):
            FolderBlobs(tmp_path / "file" / "blobs")

    async def test_a_removed_folder_is_reported(self, tmp_path: Path) -> None:
        blobs = FolderBlobs(tmp_path)
        (tmp_path / "incoming").rmdir()
        with pytest.raises(DependencyUnavailable):
            await blobs.check()

    def test_a_full_disk_is_reported_and_nothing_is_stored(self, tmp_path: Path) -> None:
        """A limit on file size stands in for the full disk: the kernel refuses the write at the same place."""
        code = (
            "import asyncio, resource, signal, sys; from pathlib import Path\n"
            "from infra.blobs.folder import FolderBlobs; from schemas.errors import DependencyUnavailable, NotFound\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
            "async def main():\n"
            "    blobs = FolderBlobs(Path(sys.argv[1]))\n"
            "    try: await blobs.put('t/a', b'x' * 1_000_000)\n"
            "    except DependencyUnavailable: pass\n"
            "    else: raise SystemExit('stored')\n"
            "    try: await blobs.get('t/a')\n"
            "    except NotFound: print('refused')\n"
            "asyncio.run(main())\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.stdout == "refused\n", done.stderr
        assert list((tmp_path / "incoming").iterdir()) == []

    def test_check_fails_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        code = (
            "import asyncio, resource, signal, sys; from pathlib import Path\n"
            "from infra.blobs.folder import FolderBlobs; from schemas.errors import DependencyUnavailable\n"
            "blobs = FolderBlobs(Path(sys.argv[1]))\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
            "try: asyncio.run(blobs.check())\n"
            "except DependencyUnavailable: sys.exit(42)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
        assert done.returncode == 42
        assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.minio
class TestMinio:
    def store(self, server: MinioServer, bucket: str = "faults", **options: float) -> MinioBlobs:
        return MinioBlobs(server.url, server.access_key, server.secret_key, bucket, **options)

    async def test_an_abandoned_upload_leaves_no_parts_behind(self, minio: MinioServer) -> None:
        store = self.store(minio, "leftovers")
        await store.ensure()
        with pytest.raises(ValueError, match="no"):
            await store.put_stream("t/broken", pieces(*[b"x" * MIB] * 25, then=ValueError("no")))
        assert store._client._list_multipart_uploads("leftovers").uploads == []
        await store.close()

    async def test_check_makes_the_bucket_and_many_may_at_once(self, minio: MinioServer) -> None:
        stores = [self.store(minio, "made-by-check") for _ in range(5)]
        await asyncio.gather(*(store.check() for store in stores))
        await stores[0].put("t/a", b"x")
        for store in stores:
            await store.close()

    async def test_wrong_credentials_and_a_missing_bucket_are_reported(self, minio: MinioServer) -> None:
        wrong = MinioBlobs(minio.url, minio.access_key, "wrong-secret", "made-by-check")
        missing = self.store(minio, "never-made")
        for attempt in (wrong.check(), wrong.get("t/a"), missing.get("t/a"), missing.put("t/a", b"x")):
            with pytest.raises(DependencyUnavailable):
                await attempt
        with pytest.raises(DependencyUnavailable):
            await missing.put_stream("t/a", pieces(b"x"))
        await wrong.close()
        await missing.close()

    @pytest.mark.parametrize("url", ["127.0.0.1:9000", "ftp://host", "http://", "http://host/path"])
    def test_an_endpoint_that_is_none_is_refused(self, url: str) -> None:
        with pytest.raises(InvalidInput):
            MinioBlobs(url, "a", "b", "bucket")

    @pytest.mark.parametrize("bucket", ["", "x", "Upper", "with space", "a/b", "192.168.0.1"])
    def test_an_invalid_bucket_name_is_refused(self, bucket: str) -> None:
        with pytest.raises(InvalidInput):
            MinioBlobs("http://127.0.0.1:9000", "a", "b", bucket)

    async def test_a_dead_server_is_reported_soon_and_serves_again_when_back(self, tmp_path: Path) -> None:
        skip_unless_minio()
        with MinioServer(tmp_path) as server:
            store = self.store(server)
            await store.ensure()
            await store.put("t/a", b"x")
            server.kill()
            begun = time.monotonic()
            for attempt in (store.get("t/a"), store.put("t/b", b"y"), store.check(), read(store, "t/a")):
                with pytest.raises(DependencyUnavailable):
                    await attempt
            with pytest.raises(DependencyUnavailable):
                await store.put_stream("t/c", pieces(*[b"x" * MIB] * 30))
            assert time.monotonic() - begun < 60
            server.start()
            assert await store.get("t/a") == b"x"
            await store.check()
            await store.close()

    async def test_a_server_that_hangs_is_reported(self, tmp_path: Path) -> None:
        skip_unless_minio()
        with MinioServer(tmp_path) as server:
            store = self.store(server, timeout_s=1)
            await store.ensure()
            assert server.pid is not None
            freeze(server.pid)
            try:
                begun = time.monotonic()
                for attempt in (store.get("t/a"), store.check()):
                    with pytest.raises(DependencyUnavailable):
                        await attempt
                assert time.monotonic() - begun < 60
            finally:
                thaw(server.pid)
            await store.close()

    async def test_something_else_on_the_port_is_reported(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]

            async def answer_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/html\r\n\r\nhello")
                writer.close()

            async with await asyncio.start_server(answer_nonsense, sock=listener.dup()):
                store = MinioBlobs(f"http://127.0.0.1:{port}", "a", "b", "bucket", timeout_s=1)
                with pytest.raises(DependencyUnavailable):
                    await store.check()
                await store.close()


async def test_a_pipe_lets_the_writer_wait_for_the_reader() -> None:
    pipe = ChunkPipe()
    fed = 0

    async def write() -> None:
        nonlocal fed
        for _ in range(100):
            await pipe.feed(b"12345")
            fed += 1
        pipe.finish()

    writer = asyncio.create_task(write())
    for _ in range(1000):
        await asyncio.sleep(0)
    assert 0 < fed < 20
    assert await asyncio.to_thread(pipe.read, 400) == b"12345" * 80
    assert await asyncio.to_thread(pipe.read, 400) == b"12345" * 20
    assert await asyncio.to_thread(pipe.read, 400) == b""
    await writer


async def test_an_abandoned_pipe_fails_its_reader() -> None:
    pipe = ChunkPipe()
    await pipe.feed(b"1")
    pipe.abandon()
    with pytest.raises(BrokenStreamError):
        await asyncio.to_thread(pipe.read, 10)
