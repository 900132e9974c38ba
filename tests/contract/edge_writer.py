"""Writes to an embedded index until it is killed: `python -m tests.contract.edge_writer FOLDER FIRST_STEP`.

Each step replaces one of three documents, then prints its number. Every ten steps a new index is made, and the one
before the previous is removed. Shards are optimised after every 100 points, so that kills hit that too.
"""

import asyncio
import sys
from itertools import count
from pathlib import Path

from infra.vectors import shard
from infra.vectors.edge import EdgeIndex
from schemas.retrieval import DocumentVersion
from tests.contract.vectors import change, chunk, index_of, terms

CHUNKS = 20
STEPS = 10


async def main(folder: Path, first: int) -> None:
    shard.OPTIMISE_AFTER = 100  # type: ignore[misc]  # it is final for everyone else
    index = EdgeIndex(folder)
    for step in count(first):
        name = index_of("t", generation=step // STEPS)
        await index.ensure(name, dimension=2)
        document, content = f"d{step % 3}", f"c{step}"
        await index.upsert(
            name,
            [
                chunk(document, terms(1), dense=[1.0, 0.0], content=content, version=step, position=n, year=step)
                for n in range(CHUNKS)
            ],
        )
        await index.prune(name, [DocumentVersion(document, step, content)], change())
        if step >= 2 * STEPS:
            await index.drop(index_of("t", generation=step // STEPS - 2))
        sys.stdout.write(f"{step}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
