"""bge-m3 through FlagEmbedding: dense vectors, and the term weights that the model learned with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from infra.engines.dense import embeddings
from infra.engines.loading import loaded
from schemas.retrieval import Embedding, SparseVector

WEIGHTS: Final = ["*.json", "*.safetensors", "*.bin", "*.pt", "*.model"]
"""What is fetched from a hub: not the copy for ONNX, which is as large as the model."""


class BgeM3Model:
    """A model of bge-m3's kind by hub name or folder, loaded when this is constructed.

    `device` as in torch (None: the first GPU, else the processor); half precision on a GPU. Texts beyond `max_tokens`
    are cut. Raises `DependencyMissing` without the gpu group and `DependencyUnavailable` when it cannot be loaded.
    """

    def __init__(
        self,
        model_name_or_path: str,
        device: str | None = None,
        *,
        max_tokens: int = 8192,
        query_prefix: str = "",
        document_prefix: str = "",
    ) -> None:
        with loaded(model_name_or_path):
            import torch
            from FlagEmbedding import BGEM3FlagModel

            device = device or ("cuda:0" if torch.cuda.is_available() else "cpu")
            flag = BGEM3FlagModel(_folder(model_name_or_path), use_fp16=device.startswith("cuda"), devices=device)
            self._torch = torch
            self._device = device
            self._tokenizer = flag.tokenizer
            self._model = flag.model.to(device).eval()
            # Two positions of XLM-RoBERTa's are never used.
            self._max_tokens = min(max_tokens, self._model.config.max_position_embeddings - 2)
            # Tokens that represent no word do not count.
            self._silent = torch.tensor(self._tokenizer.all_special_ids, device=device)
            self.query_prefix = query_prefix
            self.document_prefix = document_prefix
            self.learned = True
            # The first pass is slow: run it here, not in a job.
            self.dimension = len(self.encode(["차원"])[0].dense)

    def encode(self, texts: Sequence[str]) -> list[Embedding]:
        """One embedding a text, in one pass. Blocking.

        The model is called directly: `BGEM3FlagModel.encode` sends the first batch of every call through it twice.
        """
        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).to(self._device)
        with self._torch.inference_mode():
            output = self._model(dict(tokens), return_dense=True, return_sparse=True)
            silent = self._torch.isin(tokens["input_ids"], self._silent)
            weights = output["sparse_vecs"].squeeze(-1).float().masked_fill(silent, 0.0)
        rows = zip(tokens["input_ids"].tolist(), weights.tolist(), strict=True)
        return embeddings(output["dense_vecs"].float().cpu().numpy(), [_terms(*row) for row in rows])

    async def close(self) -> None:
        """Nothing is held but the model."""


def _terms(ids: Sequence[int], weights: Sequence[float]) -> SparseVector:
    """Each token's highest weight, where it has any."""
    best: dict[int, float] = {}
    for token, weight in zip(ids, weights, strict=True):
        if weight > best.get(token, 0.0):
            best[token] = weight
    return SparseVector(sorted(best), [best[token] for token in sorted(best)])


def _folder(model_name_or_path: str) -> str:
    """Where the weights lie, fetched from the hub if need be."""
    folder = Path(model_name_or_path)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(model_name_or_path, allow_patterns=WEIGHTS))
    for part in ("sparse_linear.pt", "colbert_linear.pt"):
        if not (folder / part).is_file():
            # FlagEmbedding would continue with random weights.
            raise FileNotFoundError(f"it has no {part}: only models of bge-m3's kind weigh terms")
    return str(folder)
