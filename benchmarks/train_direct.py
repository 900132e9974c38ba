"""TRL's own trainer with the settings of a job, and nothing of WeLIP: `python -m benchmarks.train_direct PLAN ROWS`.

Runs in the environment of training. Its last line is JSON: `{"steps"}`, of each step `[loss, seconds]`, the seconds
from the first step's beginning to its end, as a job logs them.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import peft
import torch
import transformers
import trl


class Clock(transformers.TrainerCallback):  # type: ignore[misc]
    """When training began, and when each step was logged."""

    def __init__(self) -> None:
        self.began = 0.0
        self.steps: list[tuple[float, float]] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Time counts from here."""
        self.began = time.monotonic()

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """A step was made."""
        if "loss" in logs:
            self.steps.append((logs["loss"], time.monotonic() - self.began))


def main() -> None:
    """Train once."""
    how: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    transformers.set_seed(0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(how["weights"])
    clock = Clock()
    trainer = trl.SFTTrainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(how["weights"], dtype=torch.float32),
        args=trl.SFTConfig(
            output_dir=how["output"],
            max_steps=how["max_steps"],
            learning_rate=how["learning_rate"],
            lr_scheduler_type="cosine",
            warmup_steps=how["warmup_steps"],
            per_device_train_batch_size=how["device_batch_size"],
            gradient_accumulation_steps=1,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            dataloader_pin_memory=False,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            max_length=how["max_length"],
            completion_only_loss=True,
            seed=0,
            data_seed=0,
        ),
        train_dataset=datasets.load_dataset("json", data_files=sys.argv[2], split="train"),
        processing_class=tokenizer,
        peft_config=peft.LoraConfig(
            r=how["rank"], lora_alpha=how["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[clock],
    )
    trainer.train()
    print(json.dumps({"steps": clock.steps}))


if __name__ == "__main__":
    main()
