"""The models that `benchmarks.generate` runs; `python -m benchmarks.generation_models NAME FOLDER` makes one.

With `--adapter BASE` it makes a LoRA adapter for the weights in the folder `BASE` instead.
"""

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from infra.local.models import make_smollm2
from tests.contract import tiny_models

BORROWED: Final = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""Of SmolLM2, for a model that is only a shape."""


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A row of the models file for vLLM, and how much is asked of it.

    `tokens`: the least and the most of a reply. `jobs`: of a round. `streamed`: tokens of each text that is read along.
    """

    context_length: int
    tokens: tuple[int, int]
    options: dict[str, Any]
    env: dict[str, str] = field(default_factory=dict)
    jobs: int = 256
    streamed: int = 200


# One core is left to everything else, as a GPU leaves all of them.
_CPU: Final = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the core is a process of its own all the same
    "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) - 1)),
}
_LORA: Final = {"enable_lora": True, "max_loras": 1, "max_lora_rank": 8}

MODELS: Final = {
    "tiny": BenchModel(
        tiny_models.LLAMA_TOKENS,
        (64, 256),
        {"enforce_eager": True, "dtype": "float32", "max_num_seqs": 64, **_LORA},
        _CPU,
    ),
    # Where a processor has no arithmetic for bfloat16, float32 is quicker. With eight texts a step takes little longer
    # than with one. It writes some 70 tokens a second on a core, so little is asked of it.
    "smollm2": BenchModel(
        1024,
        (16, 48),
        {"enforce_eager": True, "dtype": "float32", "max_num_seqs": 8, **_LORA},
        _CPU,
        jobs=64,
        streamed=24,
    ),
    # For a GPU.
    "8b-dummy": BenchModel(
        8192, (64, 512), {"load_format": "dummy", "dtype": "bfloat16", "max_num_seqs": 256, **_LORA}
    ),
}


def make(name: str, folder: Path) -> None:
    """Write config, tokenizer, and weights unless vLLM makes them up."""
    match name:
        case "tiny":
            tiny_models.llama(folder)
        case "8b-dummy":
            _make_shape(folder)
        case _:
            for file in make_smollm2().iterdir():
                (folder / file.name).symlink_to(file)


def _make_shape(folder: Path) -> None:
    """The shape of Llama 3 8B with the vocabulary of SmolLM2: 7.4 billion parameters."""
    from transformers import LlamaConfig

    source = make_smollm2()
    for file in BORROWED:
        (folder / file).write_bytes((source / file).read_bytes())
    borrowed = LlamaConfig.from_pretrained(source)
    LlamaConfig(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        intermediate_size=14336,
        max_position_embeddings=MODELS["8b-dummy"].context_length,
        vocab_size=borrowed.vocab_size,
        bos_token_id=borrowed.bos_token_id,
        eos_token_id=borrowed.eos_token_id,
        pad_token_id=borrowed.pad_token_id,
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(folder)


def make_adapter(base: Path, folder: Path) -> None:
    """Write an adapter of random matrices, strong enough to change what the model writes."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    # Without weights: an adapter has its own.
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig.from_pretrained(base))
    model.name_or_path = str(base)  # which the adapter's config names as its base
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=8,
        lora_alpha=64,
        target_modules=["q_proj", "v_proj"],
        init_lora_weights=False,
    )
    adapted = get_peft_model(model.to_empty(device="cpu"), config)
    for name, matrix in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(matrix, std=0.05)
    adapted.save_pretrained(str(folder))


def main() -> None:
    """Make what the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation_models")
    parser.add_argument("name", choices=sorted(MODELS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--adapter", type=Path, metavar="BASE")
    given = parser.parse_args()
    if given.adapter is None:
        make(given.name, given.folder)
    else:
        make_adapter(given.adapter, given.folder)


if __name__ == "__main__":
    main()
