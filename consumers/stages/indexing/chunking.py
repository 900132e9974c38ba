"""From a document to the pieces that are encoded and found: windows of whole sentences."""

from collections.abc import Iterator, Sequence

from schemas.retrieval import ChunkSpan


def chunk(
    text: str, sentences: Sequence[tuple[int, int]], *, max_chars: int, overlap_sentences: int
) -> list[ChunkSpan]:
    """Windows of at most `max_chars` characters that share up to `overlap_sentences` with the one before.

    `sentences` are ordered, disjoint offsets. A sentence longer than `max_chars` is cut at white space, or within
    a word where there is none. Every chunk brings something new and holds more than white space; every sentence is
    in one. `chunk.text == text[chunk.start:chunk.end]`.
    """
    units = list(_units(text, sentences or [(0, len(text))], max_chars))
    chunks: list[ChunkSpan] = []
    first = done = 0
    while done < len(units):
        # The overlap gives way where it leaves no room for the next sentence.
        while first < done and units[done][1] - units[first][0] > max_chars:
            first += 1
        start = units[first][0]
        while done < len(units) and units[done][1] - start <= max_chars:
            done += 1
        end = units[done - 1][1]
        chunks.append(ChunkSpan(start, end, text[start:end]))
        first = max(first + 1, done - overlap_sentences)
    return chunks


def _units(text: str, sentences: Sequence[tuple[int, int]], max_chars: int) -> Iterator[tuple[int, int]]:
    for begin, end in sentences:
        start, stop = _strip(text, begin, end)
        while start < stop:
            cut = stop if stop - start <= max_chars else _cut(text, start, start + max_chars)
            yield start, _strip(text, start, cut)[1]
            start, _ = _strip(text, cut, stop)


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def _cut(text: str, start: int, limit: int) -> int:
    """The last white space in the second half of `text[start:limit]`, else `limit`."""
    return next((at for at in range(limit, (start + limit) // 2, -1) if text[at].isspace()), limit)
