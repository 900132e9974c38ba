"""An embedding model for a command that runs by itself, with the deployment's other settings for it."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from infra.engines.embedder import BatchedEmbedder
from infra.engines.open import open_embedder
from infra.settings import EmbedderSettings
from schemas.errors import DependencyMissing


@contextmanager
def opened_embedder(model: str) -> Iterator[BatchedEmbedder]:
    """A model by name or folder, or `e5-small`, without a cache. The engine is `WELIP_EMBEDDER`'s, or told by the name.

    Close it in the loop it was used in. Raises `DependencyMissing`, `DependencyUnavailable`.
    """
    engine = os.environ.get("WELIP_EMBEDDER", "none")
    if model == "e5-small":
        wanted = {"WELIP_EMBEDDER": model}
    else:
        if engine in ("none", "e5-small"):
            engine = "bge-m3" if "bge-m3" in model.lower() else "sentence-transformers"
        wanted = {"WELIP_EMBEDDER": engine, "model": model}
    with ThreadPoolExecutor(1, thread_name_prefix="welip-model") as thread:
        embedder = open_embedder(EmbedderSettings.model_validate(wanted), None, thread)
        if embedder is None:
            raise DependencyMissing(f"no engine of this version serves {model!r}")
        yield embedder
