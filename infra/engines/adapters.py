"""Whether a LoRA adapter is one that the engines serve, told from its files before any engine sees them.

Adapters come in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`. Formats:
https://huggingface.co/docs/peft/developer_guides/checkpoint and https://huggingface.co/docs/safetensors.
"""

import json
import math
import re
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, NoReturn

from schemas.errors import InvalidInput
from schemas.models import MAX_RANK

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
CONFIG_BYTES: Final = 1024 * 1024
HEADER_BYTES: Final = 16 * 1024 * 1024
MOST_SIDES: Final = 8
NAME_CHARS: Final = 1_000
_BYTES: Final = {"F16": 2, "BF16": 2, "F32": 4}
_MATRIX: Final = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(?:\.[\w-]+)?\.weight")
_RUNS_CODE: Final = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py"})
_BESIDE_LORA: Final[Mapping[str, str]] = {
    "use_dora": "is trained with DoRA",
    "modules_to_save": "replaces whole modules (modules_to_save)",
    "trainable_token_indices": "trains single tokens (trainable_token_indices)",
    "target_parameters": "changes parameters that are no layer (target_parameters)",
    "layer_replication": "replicates layers (layer_replication)",
    "lora_bias": "trains a bias (lora_bias)",
}
"""Fields of PEFT's `LoraConfig` that ask for more than two matrices beside a layer."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that was checked. `rank`: the largest of its matrices; `modules`: how many layers it changes."""

    rank: int
    modules: int


def checked(folder: Path, *, bases: Collection[str], max_rank: int = MAX_RANK) -> Adapter:
    """The adapter in a folder. Raises as `inspected` does, and for links and files that may hold code."""
    try:
        files = list(folder.iterdir())
        for file in files:
            if file.is_symlink():
                refuse(f"holds a link ({file.name}); only files are accepted")
        only_what_cannot_run(file.name for file in files)
        size = _size(folder / CONFIG)
        if size > CONFIG_BYTES:
            refuse(f"has a {CONFIG} of more than {CONFIG_BYTES >> 20} MiB")
        config = (folder / CONFIG).read_bytes()
        size = _size(folder / WEIGHTS)
        with (folder / WEIGHTS).open("rb") as weights:
            return inspected(config, weights, size, bases=bases, max_rank=max_rank)
    except OSError as error:
        refuse(f"cannot be read: {error.strerror}")


def inspected(
    config: bytes, weights: IO[bytes], size: int, *, bases: Collection[str], max_rank: int = MAX_RANK
) -> Adapter:
    """The adapter of a configuration and of `size` bytes of weights, for a model that goes by the names `bases`.

    Reads the header of the weights alone. Raises `InvalidInput` (`adapter_refused`) with the reason: not LoRA alone
    (DoRA, `modules_to_save`), another base, a rank above `max_rank`, or files that contradict themselves.
    """
    given = _config(config)
    if given.get("peft_type") != "LORA":
        refuse(f"is of type {str(given.get('peft_type'))[:100]!r}, and only LORA is served")
    for field, why in _BESIDE_LORA.items():
        if given.get(field):
            refuse(f"{why}, which the engines do not serve")
    if given.get("bias", "none") != "none":
        refuse(f"trains biases (bias = {str(given['bias'])[:100]!r}), which the engines do not serve")
    _of_this_base(given.get("base_model_name_or_path"), bases)
    declared = _declared_rank(given)
    matrices = _matrices(_header(weights, size))
    rank = max(matrices.values())
    if max(rank, declared) > max_rank:
        refuse(f"has rank {max(rank, declared)}, and the engine takes at most {max_rank}")
    return Adapter(rank, len(matrices))


def only_what_cannot_run(names: Iterable[str]) -> None:
    """Raise `InvalidInput` for a file whose format may hold code."""
    for name in names:
        if PurePosixPath(name).suffix.lower() in _RUNS_CODE:
            refuse(f"holds {name[:200]}, a format that may run code; only safetensors are accepted")


def refuse(why: str) -> NoReturn:
    """Raise the refusal of an adapter: `why` goes on after "the adapter"."""
    raise InvalidInput(f"the adapter {why}", code="adapter_refused", field="model")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        refuse(f"has no {file.name}")


def _config(data: bytes) -> dict[str, Any]:
    try:
        config = json.loads(data.decode())
    except (ValueError, RecursionError):
        refuse(f"has a {CONFIG} that is not JSON")
    if not isinstance(config, dict):
        refuse(f"has a {CONFIG} that is not an object")
    return config


def _of_this_base(base: Any, bases: Collection[str]) -> None:
    """The same name, or the same last part of it: folders lie elsewhere on the machine that trained."""
    if not isinstance(base, str) or not base:
        refuse("does not name its base model")
    if base not in bases and Path(base).name not in {Path(name).name for name in bases}:
        refuse(f"was trained on {base[:200]!r}, and the model here is {min(bases)!r}")


def _declared_rank(config: Mapping[str, Any]) -> int:
    patterns = config.get("rank_pattern") or {}
    given = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else [None])]
    ranks = [rank for rank in given if isinstance(rank, int) and not isinstance(rank, bool) and rank > 0]
    if len(ranks) < len(given):
        refuse(f"has a rank in its {CONFIG} that is no positive number")
    return max(ranks)


def _matrices(header: Mapping[str, Any]) -> dict[str, int]:
    """The rank of each layer's pair of matrices."""
    sides: dict[str, dict[str, list[int]]] = {}
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        if len(name) > NAME_CHARS or (matrix := _MATRIX.fullmatch(name)) is None:
            refuse(f"holds {name[:200]!r}, which is no matrix of LoRA")
        sides.setdefault(matrix["module"], {})[matrix["side"]] = tensor["shape"]
    if not sides:
        refuse("holds no matrices")
    ranks: dict[str, int] = {}
    for module, pair in sides.items():
        match pair:
            case {"A": [rank, _], "B": [_, same]} if rank == same:
                ranks[module] = rank
            case _:
                refuse(f"has matrices that do not fit together in {module[:200]!r}")
    return ranks


def _header(weights: IO[bytes], size: int) -> dict[str, Any]:
    """The table of tensors: every one inside the file, of a known type, and as large as its shape says."""
    try:
        (length,) = struct.unpack("<Q", weights.read(8))
        if length > min(HEADER_BYTES, size - 8):
            refuse(f"has a {WEIGHTS} whose header is longer than it may be")
        header = json.loads(weights.read(length))
    except (ValueError, struct.error, RecursionError):
        refuse(f"has a {WEIGHTS} that is not in the format safetensors")
    if not isinstance(header, dict):
        refuse(f"has a {WEIGHTS} that is not in the format safetensors")
    places = []
    for name, tensor in header.items():
        if name != "__metadata__":
            if not _sound(tensor, size - 8 - length):
                refuse(f"has a tensor {name[:200]!r} that its file does not hold")
            places.append(tensor["data_offsets"])
    end = 0
    for begin, after in sorted(places):
        if begin != end:
            refuse(f"has a {WEIGHTS} whose tensors overlap or leave gaps")
        end = after
    return header


def _sound(tensor: Any, bytes_there: int) -> bool:
    match tensor:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            return (
                kind in _BYTES
                and len(shape) <= MOST_SIDES  # the product of a million numbers takes for ever
                and all(isinstance(side, int) and 0 < side < 2**31 for side in shape)
                and 0 <= begin <= end <= bytes_there
                and end - begin == math.prod(shape) * _BYTES[kind]
            )
    return False
