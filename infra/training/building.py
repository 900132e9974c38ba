"""Builds TRL's trainer for a plan: the model, its adapter, and the settings of the method."""

from dataclasses import fields
from typing import Any

import peft
import torch
import transformers
import trl
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from infra.training.counting import Examples
from infra.training.following import Follower
from infra.training.reporting import reporters
from schemas.kinds.training import Chosen
from schemas.kinds.training.plan import TrainingPlan

TRAINERS = {
    "sft": (trl.SFTConfig, trl.SFTTrainer),
    "dpo": (trl.DPOConfig, trl.DPOTrainer),
    "orpo": (ORPOConfig, ORPOTrainer),
    "kto": (trl.KTOConfig, trl.KTOTrainer),
}
EVALUATIONS = 10
"""In a whole run, where nothing else is asked for."""
OFTEN_UP_TO = 1_000
"""Steps of a run in which every step is logged."""


def build(plan: TrainingPlan, chosen: Chosen, tokenizer: Any, examples: Examples, follower: Follower) -> Any:
    """The trainer, with the model loaded."""
    settings, trainer = TRAINERS[plan.method]
    if examples.tokenised_by is not None:
        trainer = _of_tokenised(trainer)
    steps = plan.max_steps or max(1, int(plan.epochs * len(examples.train) / chosen.batch_size))
    evaluate_every = max(1, steps // EVALUATIONS) if plan.evaluate_every == "auto" else plan.evaluate_every
    cuda = chosen.device != "cpu"
    wanted = {
        "output_dir": plan.output,
        "num_train_epochs": plan.epochs,
        "max_steps": plan.max_steps or -1,
        "learning_rate": plan.learning_rate,
        "lr_scheduler_type": plan.scheduler,
        "warmup_steps": int(plan.warmup_share * steps),
        "weight_decay": plan.weight_decay,
        "per_device_train_batch_size": chosen.device_batch_size,
        "per_device_eval_batch_size": chosen.device_batch_size,
        "gradient_accumulation_steps": chosen.accumulation,
        "gradient_checkpointing": chosen.gradient_checkpointing,
        "bf16": chosen.precision == "bfloat16",
        "use_cpu": not cuda,
        "ddp_backend": "gloo" if chosen.processes > 1 and not cuda else None,
        "dataloader_pin_memory": cuda,
        "eval_strategy": "no" if examples.validation is None else "steps",
        "eval_steps": evaluate_every,
        "logging_steps": 1 if steps <= OFTEN_UP_TO else 10,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # the follower decides
        "report_to": reporters(plan),
        "disable_tqdm": True,
        "seed": plan.seed,
        "data_seed": plan.seed,
        "max_length": chosen.max_length,
    }
    of_the_method: dict[str, Any] = {"beta": plan.beta} if plan.method != "sft" else {}
    if plan.method == "sft":
        of_the_method |= {"completion_only_loss": plan.completion_only, "packing": plan.packing}
    known = {one.name for one in fields(settings)}
    assert known >= wanted.keys() | of_the_method.keys(), (wanted.keys() | of_the_method.keys()) - known
    return trainer(
        model=_model(plan, chosen),
        args=settings(**wanted, **of_the_method),
        train_dataset=examples.train,
        eval_dataset=examples.validation,
        processing_class=tokenizer,
        peft_config=_adapter(plan),
        callbacks=[follower],
    )


def _of_tokenised(trainer: Any) -> Any:
    """TRL's trainer for datasets that it has prepared before: most of its trainers would tokenise them again."""

    class OfTokenised(trainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def tokenize_row(self, feature: Any, model: Any = None) -> dict[str, Any]:  # as ORPO's trainer calls it
            return {}

    return OfTokenised


def _model(plan: TrainingPlan, chosen: Chosen) -> Any:
    """The base model. All weights are trained in 32 bits; beside an adapter they are as narrow as the device allows."""
    options: dict[str, Any] = {}
    if plan.packing:
        # Other kernels let examples of one sequence see each other.
        options["attn_implementation"] = "flash_attention_2"
    if plan.adapter == "qlora":
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    narrow = chosen.precision == "bfloat16" and plan.adapter != "full"
    return transformers.AutoModelForCausalLM.from_pretrained(
        plan.weights, revision=plan.revision, dtype=torch.bfloat16 if narrow else torch.float32, **options
    )


def _adapter(plan: TrainingPlan) -> Any | None:
    if plan.adapter == "full":
        return None
    return peft.LoraConfig(
        r=plan.rank,
        lora_alpha=plan.alpha,
        lora_dropout=plan.dropout,
        target_modules="all-linear",
        use_dora=plan.adapter == "dora",
        task_type="CAUSAL_LM",
    )
