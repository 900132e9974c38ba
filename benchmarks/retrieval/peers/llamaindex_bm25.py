"""LlamaIndex: its BM25Retriever over nodes of its SentenceSplitter, both at their defaults.

The default is made for English: words of two or more characters, an English stemmer and English stop words. Its
tokenizer parameter is ignored since 0.2, so Kiwi's morphemes are passed as text, separated by blanks.
"""

from typing import Any

from given import Search, Words, run, whole
from llama_index.core import Document
from llama_index.core.node_parser import SentenceSplitter
from llama_index.retrievers.bm25 import BM25Retriever


def build(documents: list[dict[str, Any]], words: Words | None, depth: int) -> Search:
    """Split the documents into nodes and index them."""
    nodes = SentenceSplitter().get_nodes_from_documents(
        [Document(text=whole(document), doc_id=document["id"]) for document in documents]
    )
    if words is None:
        retriever = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=depth)
    else:
        for node, text in zip(nodes, words(node.get_content() for node in nodes), strict=True):
            node.set_content(text)
        retriever = BM25Retriever.from_defaults(
            nodes=nodes, similarity_top_k=depth, skip_stemming=True, token_pattern=r"\S+"
        )

    def search(question: str) -> list[str]:
        asked = words([question])[0] if words else question
        return [found.node.ref_doc_id for found in retriever.retrieve(asked)]

    return search


run(build)
