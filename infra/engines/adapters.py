"""Whether a LoRA adapter is one that the engines serve, told from its files before any engine sees them.

A folder of PEFT's format: `adapter_config.json` and `adapter_model.safetensors`. It is one version of an adapter and
never changes: a new version is a new folder. Formats: https://huggingface.co/docs/peft/developer_guides/checkpoint and
https://huggingface.co/docs/safetensors.
"""

import json
import math
import re
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from schemas.errors import InvalidInput

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
CONFIG_BYTES: Final = 1024 * 1024
HEADER_BYTES: Final = 16 * 1024 * 1024
MAX_RANK: Final = 64
"""Unless the engine's options say otherwise."""

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

    folder: Path
    rank: int
    modules: int


def checked(folder: Path, *, bases: Collection[str], max_rank: int = MAX_RANK) -> Adapter:
    """The adapter in `folder`, for a model that goes by the names `bases`.

    Raises `InvalidInput` (`adapter_refused`) with the reason: not LoRA alone (DoRA, `modules_to_save`), another base,
    a rank above `max_rank`, weights in a format that may hold code, or files that contradict themselves.
    """
    _only_what_cannot_run(folder)
    config = _config(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        _refuse(f"is of type {config.get('peft_type')!r}, and only LORA is served")
    for field, why in _BESIDE_LORA.items():
        if config.get(field):
            _refuse(f"{why}, which the engines do not serve")
    if config.get("bias", "none") != "none":
        _refuse(f"trains biases (bias = {config['bias']!r}), which the engines do not serve")
    _of_this_base(config.get("base_model_name_or_path"), bases)
    declared = _declared_rank(config)
    matrices = _matrices(folder / WEIGHTS)
    rank = max(rank for rank in matrices.values())
    if max(rank, declared) > max_rank:
        _refuse(f"has rank {max(rank, declared)}, and the engine takes at most {max_rank}")
    return Adapter(folder, rank, len(matrices))


def _only_what_cannot_run(folder: Path) -> None:
    try:
        files = list(folder.iterdir())
    except OSError as error:
        _refuse(f"cannot be read: {error.strerror}")
    for file in files:
        if file.is_symlink():
            _refuse(f"holds a link ({file.name}); only files are accepted")
        if file.suffix.lower() in _RUNS_CODE:
            _refuse(f"holds {file.name}, a format that may run code; only safetensors are accepted")


def _config(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > CONFIG_BYTES:
            _refuse(f"has a {CONFIG} of more than {CONFIG_BYTES >> 20} MiB")
        config = json.loads(file.read_bytes())
    except FileNotFoundError:
        _refuse(f"has no {CONFIG}")
    except (OSError, ValueError, RecursionError):
        _refuse(f"has a {CONFIG} that is not JSON")
    if not isinstance(config, dict):
        _refuse(f"has a {CONFIG} that is not an object")
    return config


def _of_this_base(base: Any, bases: Collection[str]) -> None:
    """The same name, or the same last part of it: folders lie elsewhere on the machine that trained."""
    if not isinstance(base, str) or not base:
        _refuse("does not name its base model")
    if base not in bases and Path(base).name not in {Path(name).name for name in bases}:
        _refuse(f"was trained on {base[:200]!r}, and the model here is {min(bases)!r}")


def _declared_rank(config: Mapping[str, Any]) -> int:
    patterns = config.get("rank_pattern") or {}
    given = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else [None])]
    ranks = [rank for rank in given if isinstance(rank, int) and not isinstance(rank, bool) and rank > 0]
    if len(ranks) < len(given):
        _refuse(f"has a rank in its {CONFIG} that is no positive number")
    return max(ranks)


def _matrices(file: Path) -> dict[str, int]:
    """The rank of each layer's pair of matrices."""
    sides: dict[str, dict[str, list[int]]] = {}
    for name, tensor in _header(file).items():
        if name == "__metadata__":
            continue
        if (matrix := _MATRIX.fullmatch(name)) is None:
            _refuse(f"holds {name[:200]!r}, which is no matrix of LoRA")
        sides.setdefault(matrix["module"], {})[matrix["side"]] = tensor["shape"]
    if not sides:
        _refuse("holds no matrices")
    ranks: dict[str, int] = {}
    for module, pair in sides.items():
        match pair:
            case {"A": [rank, _], "B": [_, same]} if rank == same:
                ranks[module] = rank
            case _:
                _refuse(f"has matrices that do not fit together in {module[:200]!r}")
    return ranks


def _header(file: Path) -> dict[str, Any]:
    """The table of tensors: every one inside the file, of a known type, and as large as its shape says."""
    try:
        size = file.stat().st_size
        with file.open("rb") as content:
            (length,) = struct.unpack("<Q", content.read(8))
            if length > min(HEADER_BYTES, size - 8):
                _refuse(f"has a {WEIGHTS} whose header is longer than it may be")
            header = json.loads(content.read(length))
    except FileNotFoundError:
        _refuse(f"has no {WEIGHTS}")
    except (OSError, ValueError, struct.error, RecursionError):
        _refuse(f"has a {WEIGHTS} that is not in the format safetensors")
    if not isinstance(header, dict):
        _refuse(f"has a {WEIGHTS} that is not in the format safetensors")
    for name, tensor in header.items():
        if name != "__metadata__" and not _sound(tensor, size - 8 - length):
            _refuse(f"has a tensor {name[:200]!r} that its file does not hold")
    return header


def _sound(tensor: Any, bytes_there: int) -> bool:
    match tensor:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            return (
                kind in _BYTES
                and all(isinstance(side, int) and 0 < side < 2**31 for side in shape)
                and 0 <= begin <= end <= bytes_there
                and end - begin == math.prod(shape) * _BYTES[kind]
            )
    return False


def _refuse(why: str) -> NoReturn:
    raise InvalidInput(f"the adapter {why}", code="adapter_refused", field="model")
