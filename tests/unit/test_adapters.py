"""What an adapter's files must be like, and what is said about those that are not."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.engines.adapters import CONFIG, WEIGHTS, checked
from schemas.errors import InvalidInput

BASE = "SmolLM2-135M-Instruct"
CONFIGURATION: dict[str, Any] = {
    "peft_type": "LORA",
    "base_model_name_or_path": f"/models/{BASE}",
    "r": 4,
    "bias": "none",
    "use_dora": False,
    "modules_to_save": None,
}
Q = "base_model.model.model.layers.0.self_attn.q_proj"


def safetensors(
    tensors: dict[str, list[int]], *, kind: str = "F32", cut: int = 0, header: bytes | None = None
) -> bytes:
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in tensors.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        table[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(table).encode() if header is None else header
    return struct.pack("<Q", len(head)) + head + bytes(at - cut)


def pair(module: str = Q, rank: int = 4) -> dict[str, list[int]]:
    return {f"{module}.lora_A.weight": [rank, 16], f"{module}.lora_B.weight": [32, rank]}


def write(folder: Path, weights: bytes | None = None, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(CONFIGURATION | config))
    (folder / WEIGHTS).write_bytes(safetensors(pair()) if weights is None else weights)
    return folder


def refusal(folder: Path, **limits: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        checked(folder, bases=[BASE], **limits)
    assert caught.value.reason == "adapter_refused"
    return caught.value.message


def test_an_adapter_of_this_base_is_served(tmp_path: Path) -> None:
    found = checked(write(tmp_path, safetensors(pair() | pair(f"{Q[:-6]}k_proj", 8))), bases=["alias", BASE])
    assert (found.rank, found.modules) == (8, 2)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"lora_bias": True}, "lora_bias"),
        ({"trainable_token_indices": [1]}, "single tokens"),
        ({"target_parameters": ["experts"]}, "target_parameters"),
        ({"peft_type": "IA3"}, "'IA3'"),
        ({"base_model_name_or_path": "another/Llama"}, "another/Llama"),
        ({"base_model_name_or_path": None}, "does not name its base"),
        ({"r": 128}, "rank 128"),
        ({"rank_pattern": {"q_proj": 512}}, "rank 512"),
        ({"r": True}, "no positive number"),
        ({"r": "4"}, "no positive number"),
        ({"rank_pattern": [4]}, "no positive number"),
    ],
)
def test_what_the_engines_do_not_serve_is_refused_with_the_reason(
    tmp_path: Path, config: dict[str, Any], why: str
) -> None:
    assert why in refusal(write(tmp_path, **config))


def test_the_rank_of_the_weights_counts_not_only_the_declared_one(tmp_path: Path) -> None:
    assert "rank 32" in refusal(write(tmp_path, safetensors(pair(rank=32))), max_rank=16)


@pytest.mark.parametrize("name", ["adapter_model.bin", "extra.pt", "CODE.PY", "weights.pickle"])
def test_formats_that_may_run_code_are_refused(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).write_bytes(b"x")
    assert name in refusal(tmp_path)


def test_links_are_refused(tmp_path: Path) -> None:
    (write(tmp_path / "a") / "passwords").symlink_to("/etc/passwd")
    assert "link" in refusal(tmp_path / "a")


@pytest.mark.parametrize("missing", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    (write(tmp_path) / missing).unlink()
    assert missing in refusal(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "nowhere")


DAMAGED: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no header": lambda: b"1234567",
    "a header longer than the file": lambda: struct.pack("<Q", 2**62) + b"{}",
    "a header that is not JSON": lambda: safetensors({}, header=b"{nothing"),
    "a header nested without end": lambda: safetensors({}, header=b"[" * 200_000),
    "a list": lambda: safetensors({}, header=b"[]"),
    "a tensor that is no object": lambda: safetensors({}, header=b'{"x": 1}'),
    "cut off": lambda: safetensors(pair(), cut=1),
    "of another type": lambda: safetensors(pair(), kind="I64"),
    "negative offsets": lambda: safetensors(
        {}, header=b'{"x": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}'
    ),
    "more sides than a tensor has": lambda: safetensors(
        {}, header=json.dumps({"x": {"dtype": "F32", "shape": [2**30] * 500_000, "data_offsets": [0, 4]}}).encode()
    ),
    "a name without end": lambda: safetensors(pair(f"{Q}{'.lora_A' * 2_000}")),
    "tensors that overlap": lambda: safetensors(
        {},
        header=json.dumps(
            {f"{Q}.lora_{side}.weight": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]} for side in "AB"}
        ).encode(),
        cut=-64,
    ),
    "no matrices": lambda: safetensors({}),
    "half a pair": lambda: safetensors({f"{Q}.lora_A.weight": [4, 16]}),
    "a pair that does not fit": lambda: safetensors({f"{Q}.lora_A.weight": [4, 16], f"{Q}.lora_B.weight": [32, 8]}),
    "a vector": lambda: safetensors({f"{Q}.lora_A.weight": [4], f"{Q}.lora_B.weight": [32, 4]}),
    "a magnitude of DoRA": lambda: safetensors(pair() | {f"{Q}.lora_magnitude_vector": [32]}),
    "a whole layer": lambda: safetensors(pair() | {"lm_head.weight": [32, 16]}),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_weights_that_are_not_what_they_say_are_refused(tmp_path: Path, damage: str) -> None:
    assert refusal(write(tmp_path, DAMAGED[damage]()))


def test_a_configuration_that_is_no_object_or_too_large_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    for content in ("[]", "{", "[" * 100_000, " " * (1024 * 1024 + 1)):
        (tmp_path / CONFIG).write_text(content)
        assert CONFIG in refusal(tmp_path)
