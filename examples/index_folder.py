"""Index the files of a folder, say how far it is, and name each file that was refused.

python examples/index_folder.py FOLDER [COLLECTION]
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from welip import ApiError, Client, Job

ENDINGS = {".txt", ".md", ".html", ".pdf", ".docx", ".hwp", ".hwpx"}


def documents(client: Client, folder: Path) -> Iterator[dict[str, Any]]:
    """A document for each file: uploaded, known by its path, with its folder as metadata to filter by."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in ENDINGS:
            continue
        name = path.relative_to(folder).as_posix()
        try:
            file = client.upload(path)
        except ApiError as error:
            print(f"{name}: {error.message} [{error.code}]")
            continue
        yield {"id": name, "file": file.id, "metadata": {"folder": path.parent.name}}


def show(job: Job) -> None:
    """One line for each change."""
    print(f"{job.state} {job.fraction:.0%}")


def main(folder: str, collection: str = "example-folder") -> None:
    """The same files again cost nothing: what did not change is not indexed again."""
    with Client() as client:
        for job in client.index_documents(collection, documents(client, Path(folder)), lane="bulk"):
            ended = client.wait(job.id, on_change=show)
            if ended.error:
                raise SystemExit(f"{ended.error.message} [{ended.error.code}]")
            result = client.result(job.id)
            print(result["documents"])
            for refused in result["errors"]:
                print(f"{refused['id']}: {refused['message']} [{refused['code']}]")


if __name__ == "__main__":
    main(*sys.argv[1:])
