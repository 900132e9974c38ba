"""Optimises a copy of a shard: `python -m infra.vectors.optimising FOLDER`.

This is a separate process because the engine holds Python's global lock for the seconds or minutes that it takes.
Inside the worker it would block everything else, even heartbeats.
"""

import os
import sys
from pathlib import Path

from qdrant_edge import EdgeShard

from infra.isolation.limits import STANDS_BACK
from infra.vectors.shard import sync_all


def main() -> None:
    """Merge small segments, build their indexes and purge deleted points. The result is on disk on return."""
    os.nice(STANDS_BACK)
    shard = EdgeShard.load(sys.argv[1])
    shard.optimize()
    shard.flush()
    shard.close()
    sync_all(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
