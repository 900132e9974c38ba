"""The models that `benchmarks.generate` runs; `python -m benchmarks.generation_models NAME FOLDER` makes one.

With `--adapter BASE` it makes a LoRA adapter for the weights in the folder `BASE` instead. A model with weights made
here borrows the tokenizer of SmolLM2, which is in the cache after `make models`.
"""

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from infra.local.models import make_smollm2

TOKENIZER: Final = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


@dataclass(frozen=True, slots=True)
class BenchModel:
    """A row of the models file for vLLM, and how much is asked of it.

    `shape`: of a Llama that is made for the benchmark; None: SmolLM2. `tokens`: the least and the most of a reply.
    """

    context_length: int
    tokens: tuple[int, int]
    options: dict[str, Any]
    shape: dict[str, int] | None = None
    with_weights: bool = True
    env: dict[str, str] = field(default_factory=dict)

    def made_in(self, folder: Path, name: str, python: Path, run: Any) -> Path:
        """The folder with the weights; what has to be made is made by the other `python`."""
        if self.shape is None:
            return make_smollm2()
        run([str(python), "-m", "benchmarks.generation_models", name, str(folder)])
        return folder


# One core is left to everything else, as a GPU leaves all of them.
_CPU: Final = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) - 1)),
}

_LORA: Final = {"enable_lora": True, "max_loras": 1, "max_lora_rank": 8}

MODELS: Final = {
    "tiny": BenchModel(
        1024,
        (64, 256),
        {"enforce_eager": True, "dtype": "float32", "max_num_seqs": 64, **_LORA},
        {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 128,
        },
        env=_CPU,
    ),
    # Where a processor has no arithmetic for bfloat16, float32 is quicker. With eight texts a step takes little longer
    # than with one.
    "smollm2": BenchModel(
        1024, (16, 96), {"enforce_eager": True, "dtype": "float32", "max_num_seqs": 8, **_LORA}, env=_CPU
    ),
    # The shape of Llama 3 8B with a smaller vocabulary, 7.4 billion parameters. For a GPU.
    "8b-dummy": BenchModel(
        8192,
        (64, 512),
        {"load_format": "dummy", "dtype": "bfloat16", "max_num_seqs": 256, **_LORA},
        {
            "hidden_size": 4096,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "intermediate_size": 14336,
        },
        with_weights=False,
    ),
}


def make(name: str, folder: Path) -> None:
    """Write config, tokenizer and, unless vLLM makes them up, random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    model, source = MODELS[name], make_smollm2()
    assert model.shape is not None
    for file in TOKENIZER:
        if (source / file).exists():
            (folder / file).write_bytes((source / file).read_bytes())
    borrowed = LlamaConfig.from_pretrained(source)
    config = LlamaConfig(
        **model.shape,
        vocab_size=borrowed.vocab_size,
        bos_token_id=borrowed.bos_token_id,
        eos_token_id=borrowed.eos_token_id,
        pad_token_id=borrowed.pad_token_id,
        max_position_embeddings=model.context_length,
        architectures=["LlamaForCausalLM"],
    )
    if model.with_weights:
        torch.manual_seed(7)
        LlamaForCausalLM(config).save_pretrained(folder)
    config.save_pretrained(folder)


def make_adapter(base: Path, folder: Path) -> None:
    """Write an adapter of random matrices, strong enough to change what the model writes."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    # Without weights: an adapter has its own.
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig.from_pretrained(base))
    config = LoraConfig(
        base_model_name_or_path=str(base),
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
