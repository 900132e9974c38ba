"""A file that hangs, grows or crashes its parser ends one process; the worker continues with the next document."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from infra.documents.parser import MODULE, REQUESTS, IsolatedDocumentParser
from infra.settings import ParserSettings
from schemas.errors import DependencyUnavailable, DocumentRefused
from schemas.requester import Requester
from schemas.retrieval import ParsedDocument
from schemas.topics import Lane
from tests.contract.isolated import forked, servers, until

MiB = 1024**2
SOMEBODY = Requester("t", Lane.BULK)


def children() -> list[psutil.Process]:
    """The parser processes of this process, zombies included."""
    return forked(MODULE)


def oom_score(child: psutil.Process) -> int:
    return int(Path(f"/proc/{child.pid}/oom_score_adj").read_text())


@pytest.fixture
async def parser() -> AsyncIterator[IsolatedDocumentParser]:
    made = IsolatedDocumentParser(ParserSettings(processes=1))
    yield made
    await made.close()
    assert servers(MODULE) == []


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "good.txt").write_text("등대가 서 있다.")
    return tmp_path / "good.txt"


@pytest.fixture
def oddly_named(good: Path) -> Path:
    return good.rename(os.fsdecode(os.fsencode(good.parent) + b"/\xb0\xa1.txt"))


class Endless:
    """A file that never ends: a pipe to which nobody writes."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._end: int | None = None

    async def is_read(self) -> None:
        """Wait until a process reads it."""
        await until(self._opened)

    def _opened(self) -> bool:
        with suppress(OSError):  # ENXIO: no reader yet
            self._end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        return self._end is not None

    def close(self) -> None:
        if self._end is not None:
            os.close(self._end)


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Endless]:
    made = Endless(tmp_path / "endless")
    yield made
    made.close()


async def parse(parser: IsolatedDocumentParser, path: Path) -> ParsedDocument:
    return await parser.parse_file(path, format=None, filename=path.name, by=SOMEBODY)


async def test_one_process_reads_many_documents(parser: IsolatedDocumentParser, good: Path) -> None:
    await parse(parser, good)
    (first,) = children()
    await parse(parser, good)
    assert children() == [first]


async def test_the_size_of_the_worker_costs_no_process(parser: IsolatedDocumentParser, good: Path) -> None:
    ballast = b"\x01" * (700 * MiB)  # what a worker holds once its analyser is loaded
    await parse(parser, good)
    (first,) = children()
    await parse(parser, good)
    assert children() == [first]
    assert len(ballast) == 700 * MiB


async def test_a_process_makes_room_after_many_documents(parser: IsolatedDocumentParser, good: Path) -> None:
    await parse(parser, good)
    (first,) = children()
    for _ in range(REQUESTS):
        assert (await parse(parser, good)).text == "등대가 서 있다."
    assert children() != [first]


async def test_no_more_processes_than_allowed(good: Path) -> None:
    parser = IsolatedDocumentParser(ParserSettings(processes=2))
    await asyncio.gather(*(parse(parser, good) for _ in range(12)))
    assert len(children()) == 2
    await parser.close()
    assert children() == []


async def test_a_parser_that_hangs_is_killed_and_the_next_document_goes_on(endless: Endless, good: Path) -> None:
    parser = IsolatedDocumentParser(ParserSettings(processes=1, timeout=timedelta(seconds=0.6)))
    with capture_logs() as logs, pytest.raises(DocumentRefused) as caught:
        await parse(parser, endless.path)
    assert caught.value.reason == "document_timeout"
    assert [(entry["event"], entry["reason"]) for entry in logs] == [("isolation.killed", "timeout")]
    assert children() == []
    assert (await parse(parser, good)).text == "등대가 서 있다."
    await parser.close()


async def test_a_document_that_needs_too_much_memory_is_refused(tmp_path: Path, good: Path) -> None:
    parser = IsolatedDocumentParser(ParserSettings(processes=1, memory_bytes=256 * MiB))
    page = tmp_path / "large.html"
    page.write_bytes(b"<p>" + "등대 ".encode() * (12 * MiB))
    with pytest.raises(DocumentRefused) as caught:
        await parse(parser, page)
    assert caught.value.reason == "document_too_large"
    assert "256 MiB" in caught.value.message
    assert (await parse(parser, good)).text == "등대가 서 있다."
    await parser.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
async def test_a_parser_that_dies_refuses_its_document_alone(
    parser: IsolatedDocumentParser, endless: Endless, good: Path, end: signal.Signals
) -> None:
    reading = asyncio.create_task(parse(parser, endless.path))
    await endless.is_read()
    (child,) = children()
    child.send_signal(end)
    with capture_logs() as logs, pytest.raises(DocumentRefused) as caught:
        await reading
    assert caught.value.reason == "document_damaged"
    assert end.name in caught.value.message
    assert logs[0]["status"] == -end
    assert (await parse(parser, good)).text == "등대가 서 있다."


async def test_a_process_that_dies_while_idle_costs_no_document(parser: IsolatedDocumentParser, good: Path) -> None:
    await parse(parser, good)
    (child,) = children()
    child.kill()
    assert (await parse(parser, good)).text == "등대가 서 있다."
    assert children() != [child]


async def test_a_cancelled_document_leaves_no_process(
    parser: IsolatedDocumentParser, endless: Endless, good: Path
) -> None:
    reading = asyncio.create_task(parse(parser, endless.path))
    await endless.is_read()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert children() == []
    assert (await parse(parser, good)).text == "등대가 서 있다."


async def test_cancelling_at_any_moment_leaves_no_process(parser: IsolatedDocumentParser, good: Path) -> None:
    for wait in (0, 0.001, 0.01, 0.05, 0.2):
        reading = asyncio.create_task(parse(parser, good))
        await asyncio.wait([reading], timeout=wait)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await until(lambda: len(children()) <= 1)
    assert (await parse(parser, good)).text == "등대가 서 있다."


async def test_closing_ends_what_is_being_read(endless: Endless) -> None:
    parser = IsolatedDocumentParser(ParserSettings(processes=1))
    reading = asyncio.create_task(parse(parser, endless.path))
    waiting = asyncio.create_task(parse(parser, endless.path))
    await endless.is_read()
    await parser.close()
    ends = await asyncio.gather(reading, waiting, return_exceptions=True)
    assert [type(end) for end in ends] == [DependencyUnavailable, DependencyUnavailable]
    assert children() == []


async def test_a_process_whose_worker_is_gone_ends_itself(parser: IsolatedDocumentParser, good: Path) -> None:
    await parse(parser, good)
    (child,) = children()
    (idle,) = parser._pools[Lane.BULK]._idle
    idle._writer.close()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_a_process_is_told_no_secret(
    parser: IsolatedDocumentParser, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WELIP_POSTGRES_URL", "postgresql://welip:secret@db/welip")
    await parse(parser, good)
    (child,) = children()
    assert "secret" not in str(child.environ())
    assert not any(name.startswith("WELIP_") for name in child.environ())


async def test_a_process_lives_under_limits(parser: IsolatedDocumentParser, good: Path) -> None:
    await parse(parser, good)
    (child,) = children()
    soft, hard = child.rlimit(psutil.RLIMIT_AS)
    assert 1024 * MiB < soft == hard < 2048 * MiB
    assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert 60 <= child.rlimit(psutil.RLIMIT_CPU)[0] <= 70
    assert oom_score(child) == 1000


async def test_names_that_are_no_unicode_are_found(parser: IsolatedDocumentParser, oddly_named: Path) -> None:
    assert (await parse(parser, oddly_named)).text == "등대가 서 있다."
