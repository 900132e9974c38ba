"""Converts a GGUF file of a Llama into a folder that transformers and vLLM load: `python -m infra.local.gguf`.

It runs in the environment of model engines, which has torch, transformers and gguf.
"""

import sys
from pathlib import Path


def convert(gguf: Path, target: Path) -> None:
    """Weights in float32, the tokenizer and its chat template, into `target`, which is made."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, name = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    # A model that was read from GGUF counts as quantised and cannot be saved: a fresh one takes over its weights.
    config = type(read.config)(**{k: v for k, v in read.config.to_dict().items() if k != "quantization_config"})
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(str(target))
    tokenizer.save_pretrained(str(target))


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
