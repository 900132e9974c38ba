"""Popular systems, each in its own environment, at its defaults and over Kiwi's morphemes."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers.environments import environment
from benchmarks.retrieval.arms import DEPTH, Answers
from consumers.tuning.judged import Judged
from schemas.errors import DependencyMissing

SCRIPTS: Final = Path(__file__).parent / "peers"
RUNS_WITHIN_S: Final = 1_800
KIWI: Final = "kiwipiepy==0.24.1"


@dataclass(frozen=True, slots=True)
class Peer:
    """A script, the packages that it needs from PyPI, and whether it gets Kiwi's morphemes."""

    script: str
    requirements: tuple[str, ...]
    kiwi: bool


_LLAMAINDEX = ("llama-index-core==0.14.25", "llama-index-retrievers-bm25==0.8.0", KIWI)
_HAYSTACK = ("haystack-ai==3.4.0", KIWI)
PEERS: Final[Mapping[str, Peer]] = {
    "llamaindex": Peer("llamaindex_bm25.py", _LLAMAINDEX, kiwi=False),
    "llamaindex-kiwi": Peer("llamaindex_bm25.py", _LLAMAINDEX, kiwi=True),
    "haystack": Peer("haystack_bm25.py", _HAYSTACK, kiwi=False),
    "haystack-kiwi": Peer("haystack_bm25.py", _HAYSTACK, kiwi=True),
}


def peer_answers(name: str, judged: Judged) -> Answers:
    """The peer's results for the data. Raises `DependencyMissing` when it cannot be installed or does not finish."""
    peer = PEERS[name]
    python = environment(name.split("-")[0], peer.requirements)
    with tempfile.TemporaryDirectory(prefix="welip-bench-") as folder:
        given, made = Path(folder) / "given.json", Path(folder) / "made.json"
        given.write_text(
            json.dumps(
                {
                    "documents": [asdict(document) for document in judged.documents],
                    "questions": [question.text for question in judged.questions],
                    "depth": DEPTH,
                    "kiwi": peer.kiwi,
                },
                ensure_ascii=False,
            ),
            "utf-8",
        )
        try:
            done = subprocess.run(
                [str(python), str(SCRIPTS / peer.script), str(given), str(made)],
                env={**os.environ, "HAYSTACK_TELEMETRY_ENABLED": "False", "PYTHONPATH": ""},
                capture_output=True,
                text=True,
                check=False,
                timeout=RUNS_WITHIN_S,
            )
        except subprocess.TimeoutExpired as error:
            raise DependencyMissing(f"it took longer than {RUNS_WITHIN_S} s") from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise DependencyMissing(f"it ended with {done.returncode}: {lines[-1]}")
        return Answers(**json.loads(made.read_text("utf-8")))
