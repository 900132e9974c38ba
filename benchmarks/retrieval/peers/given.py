"""The input and output of every peer, JSON files named on its command line; and Kiwi's words for those that use them.

Input: `documents` (`id`, `title`, `text`), `questions`, `depth`, `kiwi`. Output: `rankings` (document ids, best first,
repeats allowed), `index_s`, `query_ms`.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

CONTENT = {"NNG", "NNP", "NNB", "NR", "NP", "VV", "VA", "XR", "SL", "SH", "SN", "MAG", "MM"}
"""The tags of the arm `kiwi`, so that peers differ from it only in their ranking."""

Search = Callable[[str], list[str]]
Words = Callable[[Iterable[str]], list[str]]


def kiwi_words() -> Words:
    """Turns texts into their content morphemes, separated by blanks. Loads Kiwi, which is not timed."""
    from kiwipiepy import Kiwi

    kiwi = Kiwi(num_workers=2)
    kiwi.tokenize("준비")

    def words(texts: Iterable[str]) -> list[str]:
        return [
            " ".join(t.form for t in tokens if t.tag.split("-")[0] in CONTENT or t.tag.startswith("W_"))
            for tokens in kiwi.tokenize(text.lower() for text in texts)
        ]

    return words


def run(build: Callable[[list[dict[str, Any]], Words | None, int], Search]) -> None:
    """Index the input with `build(documents, words, depth)`, ask every question, write the results."""
    given = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    words = kiwi_words() if given["kiwi"] else None
    began = time.perf_counter()
    search = build(given["documents"], words, given["depth"])
    index_s = time.perf_counter() - began
    rankings, query_ms = [], []
    for question in given["questions"]:
        began = time.perf_counter()
        rankings.append(search(question))
        query_ms.append((time.perf_counter() - began) * 1000)
    found = {"rankings": rankings, "index_s": index_s, "query_ms": query_ms}
    Path(sys.argv[2]).write_text(json.dumps(found), "utf-8")


def whole(document: dict[str, Any]) -> str:
    """Title and text as one string."""
    return f"{document['title']}\n{document['text']}" if document["title"] else str(document["text"])
