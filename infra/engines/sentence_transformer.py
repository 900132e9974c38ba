"""Dense vectors from any sentence-transformers model, for deployments with the gpu group."""

from collections.abc import Sequence
from threading import Lock

from schemas.errors import DependencyMissing, DependencyUnavailable


class SentenceTransformerEmbedder:
    """A model by hub name or folder, loaded when this is constructed. Texts beyond the model's length are cut by it.

    `device` as in torch (None: the best there is). `query_prefix` and `document_prefix` are put in front of every text,
    for models that were trained so (E5: `query: ` and `passage: `). Raises `DependencyMissing` without the gpu group
    and `DependencyUnavailable` when the model cannot be loaded.
    """

    def __init__(
        self,
        model_name_or_path: str,
        device: str | None = None,
        batch_size: int = 32,
        query_prefix: str = "",
        document_prefix: str = "",
    ) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise DependencyMissing("dense vectors need the gpu group: pip install 'welip[gpu]'") from error
        try:
            self._model = SentenceTransformer(model_name_or_path, device=device)
        except (OSError, ValueError) as error:
            raise DependencyUnavailable(f"the model {model_name_or_path!r} could not be loaded: {error}") from error
        self._path = model_name_or_path
        self._batch_size = batch_size
        self._query_prefix = query_prefix
        self._document_prefix = document_prefix
        # Fast tokenizers refuse to be used by two threads at once.
        self._lock = Lock()
        self._dimension = len(self._encode(["차원"])[0])

    @property
    def name(self) -> str:
        """The model's name, with its prefixes where it has any, because they change its vectors."""
        prefixes = self._query_prefix, self._document_prefix
        return f"{self._path}{prefixes}" if any(prefixes) else self._path

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return self._dimension

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector of length 1 a text. Blocking."""
        return self._encode([self._document_prefix + text for text in texts])

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query, of length 1. Blocking."""
        return self._encode([self._query_prefix + text])[0]

    def _encode(self, texts: list[str]) -> list[list[float]]:
        if not texts:
            return []
        with self._lock:
            vectors = self._model.encode(
                texts, batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
            )
        return [[float(value) for value in vector] for vector in vectors]
