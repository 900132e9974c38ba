"""Optimises a copy of a shard: `python -m infra.vectors.optimising FOLDER`.

A separate process, because the engine keeps Python's global lock all the while, seconds to minutes: in the worker's
process nothing else would run, not even heartbeats.
"""

import sys
from pathlib import Path

from qdrant_edge import EdgeShard

from infra.vectors.shard import sync_all


def main() -> None:
    """Merge small segments, build their indexes, drop what was deleted. On disk on return."""
    shard = EdgeShard.load(sys.argv[1])
    shard.optimize()
    shard.flush()
    shard.close()
    sync_all(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
