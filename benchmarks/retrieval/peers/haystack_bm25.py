"""Haystack: its InMemoryBM25Retriever over its InMemoryDocumentStore, both at their defaults.

The default, BM25L, treats every Hangul syllable as a word. It accepts a regular expression but no tokenizer, so Kiwi's
morphemes are passed as text, separated by blanks.
"""

from typing import Any

from given import Search, Words, run, whole
from haystack import Document
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore


def build(documents: list[dict[str, Any]], words: Words | None, depth: int) -> Search:
    """Write the documents, whole, to the store."""
    store = InMemoryDocumentStore(bm25_tokenization_regex=r"\S+") if words else InMemoryDocumentStore()
    texts = [whole(document) for document in documents]
    store.write_documents(
        [
            Document(id=document["id"], content=text)
            for document, text in zip(documents, words(texts) if words else texts, strict=True)
        ]
    )
    retriever = InMemoryBM25Retriever(document_store=store, top_k=depth)

    def search(question: str) -> list[str]:
        asked = words([question])[0] if words else question
        # It refuses an empty query, and a question that consists of signs has no morphemes.
        return [found.id for found in retriever.run(query=asked)["documents"]] if asked.strip() else []

    return search


run(build)
