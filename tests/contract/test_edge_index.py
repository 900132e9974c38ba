"""What can go wrong only in the embedded index: its folder, its crashes, and its shards as they grow."""

import asyncio
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from infra.vectors import optimiser, optimising, shard, shards
from infra.vectors.edge import EdgeIndex
from infra.vectors.points import index_name
from schemas.errors import Conflict, DependencyUnavailable, NotFound
from schemas.filters import parse_filter
from schemas.retrieval import DocumentVersion, IndexName, Passage
from tests.contract.edge_writer import CHUNKS, STEPS
from tests.contract.vectors import FUSION, change, chunk, documents, index_of, query, terms

KO = index_of("t")


async def find(index: EdgeIndex, name: IndexName = KO, *, top_k: int = 5) -> list[Passage]:
    return await index.search(name, query(1), top_k=top_k, fusion=FUSION)


def unfinished(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".unfinished-")]


async def until_optimised(index: EdgeIndex) -> None:
    async with asyncio.timeout(60):
        await asyncio.gather(*index._optimiser._tasks.values())


class TestItsFolder:
    async def test_an_index_survives_closing_and_opening(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        await index.ensure(KO, dimension=2, learned=True)
        kept = chunk("d", terms(1), dense=[1.0, 0.0], learned=terms(3), lang="ko", year=2020)
        await index.upsert(KO, [kept, chunk("gone", terms(1))])
        await index.prune(KO, [DocumentVersion("gone", 2, None)], change())
        await index.close()
        await index.close()
        index = EdgeIndex(tmp_path)
        await index.ensure(KO, dimension=2, learned=True)
        asked = query(1, dense=[1.0, 0.0], learned=terms(3))
        filter = parse_filter({"lang": "ko", "year": {"gte": 2020}})
        [found] = await index.search(KO, asked, top_k=5, fusion=FUSION, filter=filter)
        assert found.document_id == "d"
        await index.close()

    async def test_a_second_user_of_the_folder_is_refused_with_a_reason(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        with pytest.raises(Conflict, match="one process at a time"):
            EdgeIndex(tmp_path)
        code = (
            "import sys; from pathlib import Path; from infra.vectors.edge import EdgeIndex\n"
            "EdgeIndex(Path(sys.argv[1]))\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(tmp_path), stderr=subprocess.PIPE
        )
        _, stderr = await process.communicate()
        assert process.returncode == 1
        assert b"Conflict" in stderr
        await index.close()
        await EdgeIndex(tmp_path).close()

    async def test_more_indexes_than_may_be_open(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path, open_at_most=2)

        async def use(n: int) -> None:
            name = index_of("t", f"c{n}")
            await index.ensure(name, dimension=None)
            await index.upsert(name, [chunk(f"d{n}", terms(1))])
            for _ in range(3):
                assert documents(await find(index, name)) == [f"d{n}"]

        await asyncio.gather(*(use(n) for n in range(8)))
        assert len(index._shards._open) <= 2
        await index.close()

    async def test_whoever_goes_through_many_indexes_closes_none_of_another_tenant(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[str] = []
        load = shards.opened

        def counted(folder: Path) -> shard.Shard:
            made = load(folder)
            opened.append(made.description.tenant)
            return made

        monkeypatch.setattr(shards, "opened", counted)
        index = EdgeIndex(tmp_path, open_at_most=2)
        names = [index_of("few"), *(index_of("many", f"c{n}") for n in range(3))]
        for name in names:
            await index.ensure(name, dimension=None)
            await index.upsert(name, [chunk("d", terms(1))])
        for name in names * 2:
            assert documents(await find(index, name)) == ["d"]
        assert opened.count("few") == 1
        assert opened.count("many") >= 3 + 2 * 2
        await index.close()

    async def test_the_engine_makes_one_shard_of_a_kind_and_the_others_are_copies_without_holes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[str] = []
        create = shard.EdgeShard.create

        def counted(folder: str, config: Any) -> Any:
            made.append(folder)
            return create(folder, config)

        monkeypatch.setattr(shard, "EdgeShard", SimpleNamespace(create=counted, load=shard.EdgeShard.load))
        index = EdgeIndex(tmp_path)
        names = [index_of("t", f"c{number}") for number in range(4)]
        for number, name in enumerate(names):
            await index.ensure(name, dimension=2 if number > 1 else None, learned=False)
            dense = [1.0, 0.0] if number > 1 else None
            await index.upsert(name, [chunk(f"d{number}", terms(1), dense=dense, version=number)])
        assert len(made) == 2
        for number, name in enumerate(names):
            assert [hit.document_id for hit in await find(index, name)] == [f"d{number}"]
        files = [file for file in (tmp_path / index_name(names[1])).rglob("*") if file.is_file()]
        assert sum(file.stat().st_blocks * 512 for file in files) < 4 * 1024**2
        assert sum(file.stat().st_size for file in files) > 4 * 1024**2
        await index.close()

    async def test_an_index_is_dropped_in_the_middle_of_searches(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        await index.ensure(KO, dimension=None)
        await index.upsert(KO, [chunk("d", terms(1))])

        async def search_until_gone(searched: asyncio.Event) -> None:
            while True:
                try:
                    assert documents(await find(index)) == ["d"]
                except NotFound:
                    return
                searched.set()

        begun = [asyncio.Event() for _ in range(8)]
        async with asyncio.timeout(120), asyncio.TaskGroup() as searches:
            for searched in begun:
                searches.create_task(search_until_gone(searched))
            for searched in begun:
                await searched.wait()
            await index.drop(KO)
        assert unfinished(tmp_path) == []
        await index.close()
        assert os.listdir(tmp_path) == [".lock"]

    async def test_what_another_version_left_is_not_touched(self, tmp_path: Path) -> None:
        old = tmp_path / "welip-ko-0123456789abcdef"
        (old / "shard").mkdir(parents=True)
        (old / "collection.json").write_text('{"tenant": "t", "collection": "ko", "dimension": null}')
        index = EdgeIndex(tmp_path)
        assert await index.count(KO) == 0
        await index.ensure(KO, dimension=None)
        assert old.exists()
        await index.close()

    @pytest.mark.parametrize("damage", ["index.json", "shard/edge_config.json"])
    async def test_a_damaged_index_is_reported_and_can_be_dropped(self, tmp_path: Path, damage: str) -> None:
        index = EdgeIndex(tmp_path)
        await index.ensure(KO, dimension=None)
        await index.close()
        (tmp_path / index_name(KO) / damage).write_text("no JSON")
        index = EdgeIndex(tmp_path)
        with pytest.raises(DependencyUnavailable):
            await index.count(KO)
        await index.drop(KO)
        assert await index.count(KO) == 0
        await index.close()

    async def test_a_closed_index_says_so(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        await index.close()
        with pytest.raises(DependencyUnavailable):
            await index.check()
        with pytest.raises(DependencyUnavailable):
            await index.count(KO)


class TestCrashes:
    async def test_a_process_that_is_killed_at_any_moment_loses_nothing_it_confirmed(self, tmp_path: Path) -> None:
        """It is killed while it creates, writes, prunes, optimises and drops; the next process continues from there."""
        chance = random.Random(4)
        step = 0
        for _ in range(4):
            step = await self._killed(tmp_path, step, confirmed=chance.randint(3, 17)) + 1
            await self._holds(tmp_path, last=step - 1)

    async def _killed(self, folder: Path, first: int, *, confirmed: int) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.contract.edge_writer", str(folder), str(first), stdout=subprocess.PIPE
        )
        assert process.stdout
        async with asyncio.timeout(60):
            for _ in range(confirmed):
                last = int(await process.stdout.readline())
            process.kill()
            assert await process.wait() == -signal.SIGKILL
            rest = (await process.stdout.read()).split()
        return int(rest[-1]) if rest else last

    async def _holds(self, folder: Path, *, last: int) -> None:
        index = EdgeIndex(folder)
        assert not unfinished(folder)
        name = index_of("t", generation=last // STEPS)
        first = last // STEPS * STEPS
        found = await index.search(name, query(1, dense=[1.0, 0.0]), top_k=10 * CHUNKS, fusion=FUSION)
        assert len(found) == await index.count(name)
        whole = {content for content, chunks in Counter(one.content_hash for one in found).items() if chunks == CHUNKS}
        for step in range(max(first, last - 2), last + 1):
            # A step after the last confirmed one may already have replaced it.
            assert {f"c{step}", f"c{step + 3}"} & whole
        for number in range(last // STEPS - 2):
            assert await index.count(index_of("t", generation=number)) == 0
        await index.close()

    @pytest.mark.parametrize("flush_after", [1, 1_000])
    async def test_what_was_confirmed_lies_in_files_that_were_synced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush_after: int
    ) -> None:
        """Whether the engine's own files already hold it, or only its log."""
        monkeypatch.setattr(shard, "FLUSH_AFTER", flush_after)
        synced: set[str] = set()

        def recorded(path: Path) -> None:
            synced.add(path.name)
            sync(path)

        sync = shard._sync
        monkeypatch.setattr(shard, "_sync", recorded)
        index = EdgeIndex(tmp_path / "index")
        await index.ensure(KO, dimension=2)
        synced.clear()
        for n in range(30):
            await index.upsert(KO, [chunk(f"d{n}", terms(1), dense=[1.0, 0.0], position=p) for p in range(5)])
        await index.prune(KO, [DocumentVersion("d3", 2, None)], change())
        shutil.copytree(tmp_path / "index", tmp_path / "copy")
        log = set(os.listdir(tmp_path / "index" / index_name(KO) / "shard" / "wal"))
        described = index_name(KO)  # the folder with the description, which holds the watermark
        assert synced == {described} | (set() if flush_after == 1 else {*log, "wal"})
        copy = EdgeIndex(tmp_path / "copy")
        assert await copy.count(KO) == 29 * 5
        assert len(await find(copy, top_k=200)) == 29 * 5
        await copy.close()
        await index.close()

    async def test_what_was_optimised_lies_on_disk_when_its_process_ends(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index = EdgeIndex(tmp_path / "index")
        await index.ensure(KO, dimension=None)
        await index.upsert(KO, [chunk(f"d{n}", terms(*range(3_000))) for n in range(700)])
        await index.close()
        folder = tmp_path / "index" / index_name(KO) / "shard"
        synced: set[Path] = set()
        monkeypatch.setattr(shard, "_sync", synced.add)
        monkeypatch.setattr(sys, "argv", ["", str(folder)])
        optimising.main()
        assert list(folder.glob(f"segments/*/{shard.SEALED}"))
        assert synced == {folder, *folder.rglob("*")}

    async def test_an_index_whose_making_was_killed_is_removed(self, tmp_path: Path) -> None:
        (tmp_path / ".unfinished-1" / "shard").mkdir(parents=True)
        index = EdgeIndex(tmp_path)
        assert os.listdir(tmp_path) == [".lock"]
        await index.close()

    async def test_the_description_says_which_of_two_shards_in_a_folder_counts(self, tmp_path: Path) -> None:
        """A swap was killed before or after it wrote its description."""
        index = EdgeIndex(tmp_path)
        await index.ensure(KO, dimension=None)
        await index.upsert(KO, [chunk("d", terms(1))])
        await index.close()
        folder = tmp_path / index_name(KO)
        (folder / "shard-of-a-swap" / "segments").mkdir(parents=True)
        (folder / "index.json.new").write_text('{"tenant": "t"')
        index = EdgeIndex(tmp_path)
        assert documents(await find(index)) == ["d"]
        assert {path.name for path in folder.iterdir() if path.is_dir()} == {"shard"}
        await index.close()


def configured(root: Path) -> dict[str, Any]:
    """The configuration that the engine wrote for the single shard under `root`."""
    [written] = [json.loads(path.read_text()) for path in root.rglob("edge_config.json")]
    return cast(dict[str, Any], written)


def written_once(root: Path) -> dict[str, tuple[int, str]]:
    """For each such file in a sealed segment, its inode and a digest of its content."""
    return {
        f"{segment.name}/{path.relative_to(segment)}": (
            path.stat().st_ino,
            hashlib.blake2b(path.read_bytes()).hexdigest(),
        )
        for segment in (file.parent for file in root.rglob(shard.SEALED))
        for name in shard.WRITTEN_ONCE
        for path in segment.rglob(name)
    }


def _no_links(source: str, target: str) -> None:
    raise OSError("this file system has no links")


class TestGrowth:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shard, "OPTIMISE_AFTER", 500)

    async def test_a_shard_that_has_grown_is_optimised_while_it_is_searched(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        await index.ensure(KO, dimension=2)
        await index.upsert(KO, [chunk(f"d{n}", terms(1), dense=[1.0, n / 999], year=n) for n in range(600)])
        assert (tmp_path / index_name(KO) / "shard").is_dir()
        before = documents(await find(index, top_k=600))
        while index._optimiser._tasks:
            assert documents(await find(index, top_k=600)) == before
        described = json.loads((tmp_path / index_name(KO) / "index.json").read_text())
        assert described["optimised"] == 600
        assert sorted(path.name for path in (tmp_path / index_name(KO)).iterdir()) == ["index.json", described["shard"]]
        await index.upsert(KO, [chunk("later", terms(1, 9), dense=[1.0, 0.0], year=2020)])
        assert not index._optimiser._tasks, "one more chunk is no growth"
        await index.close()
        index = EdgeIndex(tmp_path)
        assert await index.count(KO) == 601
        late = parse_filter({"year": {"gte": 599}})
        found = await index.search(KO, query(1, dense=[1.0, 0.0]), top_k=9, fusion=FUSION, filter=late)
        assert sorted(documents(found)) == ["d599", "later"]
        await index.close()

    async def test_an_optimised_shard_keeps_its_indexes_in_files(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        await index.ensure(KO, dimension=None, learned=True)
        await index.upsert(KO, [chunk(f"d{n}", terms(1), learned=terms(2)) for n in range(600)])
        await until_optimised(index)
        await index.close()
        written = configured(tmp_path)
        assert {arm["memory"] for arm in written["sparse_vectors"].values()} == {"cached"}
        assert (len(written["sparse_vectors"]), written["id_tracker_memory"]) == (2, "cached")

    @pytest.mark.parametrize(("optimised", "due"), [(0, 500), (40_000, 20_000), (5_000_000, 50_000)])
    def test_what_stays_in_memory_until_then_is_limited(self, optimised: int, due: int) -> None:
        described = shard.Description("t", "c", 1, None, False, "shard", optimised)
        for written in (due - 1, due):
            assert shard.Shard(None, Path(), described, written, set()).due is (written == due)  # type: ignore[arg-type]

    @pytest.mark.parametrize("links", [True, False])
    async def test_a_full_segment_is_neither_written_nor_copied_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
    ) -> None:
        """With hard links if the file system has them; otherwise files are copied, which works as well."""
        monkeypatch.setattr(shard, "OPTIMISE_AT_LATEST", 10_000)
        if not links:
            monkeypatch.setattr(shard.os, "link", _no_links)
        index = EdgeIndex(tmp_path)
        await index.ensure(KO, dimension=None)
        after = []
        for name in ("a", "b", "c"):
            await index.upsert(KO, [chunk(f"{name}{n}", terms(*range(3_000), 10_000 + n)) for n in range(700)])
            await until_optimised(index)
            await index.prune(KO, [DocumentVersion(f"{name}3", 2, None)], change())
            after.append(written_once(tmp_path))
        found = await index.search(KO, query(10_007), top_k=9, fusion=FUSION)
        assert sorted(documents(found)) == ["a7", "b7", "c7"]
        assert await index.count(KO) == 3 * 699
        await index.close()
        for before, later in pairwise(after):
            assert before
            assert set(before) < set(later)
            for file, (number, digest) in before.items():
                assert (later[file][0] == number, later[file][1]) == (links, digest)

    async def test_writes_wait_for_the_swap_and_none_is_lost(self, tmp_path: Path) -> None:
        index = EdgeIndex(tmp_path)
        other = index_of("t", "other")
        for name in (KO, other):
            await index.ensure(name, dimension=None)
        await index.upsert(KO, [chunk(f"d{n}", terms(1)) for n in range(500)])
        assert index._optimiser._tasks
        await asyncio.gather(
            index.upsert(KO, [chunk("new", terms(1))]),
            index.prune(KO, [DocumentVersion("d3", 2, None)], change()),
            index.upsert(other, [chunk("elsewhere", terms(1))]),
        )
        await until_optimised(index)
        assert (await index.count(KO), await index.count(other)) == (500, 1)
        assert "new" in documents(await find(index, top_k=600))
        await index.close()

    @pytest.mark.parametrize("end", ["close", "drop"])
    async def test_closing_and_dropping_do_not_wait_for_it(self, tmp_path: Path, end: str) -> None:
        index = EdgeIndex(tmp_path)
        await index.ensure(KO, dimension=None)
        await index.upsert(KO, [chunk(f"d{n}", terms(1)) for n in range(500)])
        assert index._optimiser._tasks
        if end == "drop":
            await index.drop(KO)
            assert await index.count(KO) == 0
        await index.close()
        assert not unfinished(tmp_path)
        index = EdgeIndex(tmp_path)
        assert await index.count(KO) == (500 if end == "close" else 0)
        await index.close()

    async def test_an_optimisation_that_fails_costs_nothing_and_is_not_repeated(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(optimiser.sys, "executable", "/bin/false")
        index = EdgeIndex(tmp_path)
        await index.ensure(KO, dimension=None)
        for content in ("a", "b"):
            await index.upsert(KO, [chunk(f"d{n}", terms(1), content=content) for n in range(500)])
            await until_optimised(index)
        assert index._optimiser._given_up == {index_name(KO)}
        assert await index.count(KO) == 1000
        assert not unfinished(tmp_path)
        await index.close()
