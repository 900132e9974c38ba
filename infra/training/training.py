"""A run from its plan to its end: tokenizer, examples, model, trainer, and what is left in the end."""

import importlib.util
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from transformers.utils import is_flash_attn_2_available

from infra.training import exporting
from infra.training.building import build
from infra.training.counting import Examples, counted
from infra.training.following import Follower
from infra.training.memory import Estimate, estimated, free_memory, peak_memory
from infra.training.telling import Cannot, Teller
from infra.training.tokenised import kept, made_with, recalled
from schemas.kinds.training import Chosen, Export
from schemas.kinds.training.plan import Begun, Ended, Stopped, Tokenised, TrainingPlan

NO_LIMIT: Final = 1_000_000
"""What a tokenizer says that knows no limit is larger."""
CHECKPOINTING_FROM: Final = 500_000_000
"""Parameters from which `auto` spares memory for time."""
LEAST_OF_KTO: Final = 2
SHARE_OF_LORA: Final = 0.02
"""Of a model's parameters, of all its linear layers at rank 16, roughly."""


def train(plan: TrainingPlan, teller: Teller) -> Ended | Stopped:
    """Run the plan. Raises `Cannot`, and what torch and its libraries raise."""
    transformers.set_seed(plan.seed)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else _cpu()
    if plan.adapter == "qlora" and device.type != "cuda":
        why = "QLoRA needs a GPU: bitsandbytes computes in 4 bits there; train `lora` on this machine"
        raise Cannot("gpu_needed", why)
    if plan.adapter == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        why = "QLoRA needs bitsandbytes, which the environment of this worker lacks: use the group or the image `train`"
        raise Cannot("bitsandbytes_missing", why)
    if plan.packing and not is_flash_attn_2_available():
        why = "packing needs flash attention: without it examples in one sequence see each other"
        raise Cannot("flash_attention_missing", f"{why}. Install flash-attn where there is a GPU, or leave it out")
    exporting.check(plan)
    with _loading(plan):
        config = transformers.AutoConfig.from_pretrained(plan.weights, revision=plan.revision)
        tokenizer = transformers.AutoTokenizer.from_pretrained(plan.weights, revision=plan.revision)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    context = min(
        getattr(config.get_text_config(), "max_position_embeddings", NO_LIMIT),
        tokenizer.model_max_length if tokenizer.model_max_length < NO_LIMIT else NO_LIMIT,
    )
    how = made_with(plan, tokenizer, context)
    examples = recalled(plan, how) or counted(plan, tokenizer, context)
    chosen, estimate = _chosen(plan, config, examples, device)
    if plan.method == "kto" and examples.tokenised_by not in (None, chosen.device_batch_size):
        examples = counted(plan, tokenizer, context)  # it paired those that were together on a device
    teller.tell(examples.counted)
    if estimate.of(1) > free_memory(device):
        raise Cannot("out_of_memory", _too_large(chosen, estimate, free_memory(device)))
    tokens = chosen.max_length if plan.packing else examples.counted.tokens / examples.counted.rows
    follower = Follower(plan, teller, device, tokens)
    with _loading(plan):
        trainer = build(plan, chosen, tokenizer, examples, follower)
    if examples.tokenised_by is None and not plan.packing and trainer.is_world_process_zero():
        teller.tell(Tokenised(file=str(kept(plan, trainer, examples, chosen, how))))
    trainable = sum(one.numel() for one in trainer.model.parameters() if one.requires_grad)
    total = sum(one.numel() for one in trainer.model.parameters())
    chosen = chosen.model_copy(update={"trainable_parameters": trainable, "parameters": total})
    steps = _steps(plan, examples)
    begins_after = 0
    if plan.resume is not None:
        state = transformers.TrainerState.load_from_json(str(Path(plan.resume) / "trainer_state.json"))
        begins_after = state.global_step
    teller.tell(Begun(step=begins_after, steps=steps, chosen=chosen))
    if plan.resume is None and examples.validation is not None:
        trainer.evaluate()
    trainer.train(resume_from_checkpoint=plan.resume)
    return _end(plan, trainer, tokenizer, follower, device)


def _end(plan: TrainingPlan, trainer: Any, tokenizer: Any, follower: Follower, device: torch.device) -> Ended | Stopped:
    step = trainer.state.global_step
    if follower.broken_at is not None:
        why = f"at step {follower.broken_at} the loss or its gradient was no longer a number; the last good checkpoint"
        raise Cannot("loss_not_finite", f"{why} is kept: try a lower learning rate")
    if follower.stopped:
        return Stopped(step=step)
    seconds, pace = follower.seconds, follower.tokens_per_s(step)
    history = trainer.state.log_history
    losses = [entry for entry in history if "eval_loss" in entry]
    if trainer.eval_dataset is not None and (not losses or losses[-1]["step"] != step):
        losses = [*losses, trainer.evaluate()]
    folder = Path(plan.output) / "final"
    # All processes take part: of some each holds a part of the weights.
    trainer.save_model(str(folder))
    exports: dict[Export, str] = {}
    if trainer.is_world_process_zero():
        # Transformers writes it, and reads it never. It is a pickle, which nobody should have to open.
        (folder / "training_args.bin").unlink(missing_ok=True)
        tokenizer.save_pretrained(str(folder))
        with (Path(plan.output) / "metrics.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in history)
        exports = exporting.exported(plan, folder)
    trained = [entry["loss"] for entry in history if "loss" in entry]
    return Ended(
        step=step,
        epoch=round(trainer.state.epoch or 0, 4),
        folder=str(folder),
        train_loss=trained[-1] if trained else None,
        validation_loss=losses[-1]["eval_loss"] if losses else None,
        tokens_per_s=pace,
        seconds=seconds,
        peak_memory_bytes=peak_memory(device),
        exports=exports,
    )


def _chosen(plan: TrainingPlan, config: Any, examples: Examples, device: torch.device) -> tuple[Chosen, Estimate]:
    """What `auto` comes to, with what the memory of the device allows."""
    with torch.device("meta"):
        parameters = sum(one.numel() for one in transformers.AutoModelForCausalLM.from_config(config).parameters())
    narrow = device.type == "cuda" and torch.cuda.is_bf16_supported()
    checkpointing = plan.gradient_checkpointing
    if checkpointing == "auto":
        checkpointing = parameters >= CHECKPOINTING_FROM
    trainable = parameters if plan.adapter == "full" else int(parameters * SHARE_OF_LORA * plan.rank / 16)
    full = plan.adapter == "full"
    weight_bytes = 0.6 if plan.adapter == "qlora" else 2 if narrow and not full else 4
    estimate = estimated(
        config,
        parameters,
        trainable,
        max_length=examples.max_length,
        weight_bytes=weight_bytes,
        checkpointing=checkpointing,
    )
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if any(os.environ.get(f"ACCELERATE_USE_{name}") == "true" for name in ("FSDP", "DEEPSPEED")):
        estimate = estimate.divided(processes)
    share = max(1, plan.batch_size // processes)
    asked = plan.device_batch_size
    at_once = min(estimate.fitting(share, free_memory(device)) if asked == "auto" else asked, share)
    while share % at_once:
        at_once -= 1
    if plan.method == "kto" and at_once < LEAST_OF_KTO:
        why = f"KTO compares neighbours: a device must take {LEAST_OF_KTO} examples at a time, not {at_once}"
        raise Cannot("batch_too_small", f"{why}: raise batch_size and device_batch_size, or lower max_length")
    chosen = Chosen(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        processes=processes,
        precision="bfloat16" if narrow else "float32",
        learning_rate=plan.learning_rate,
        batch_size=share * processes,
        device_batch_size=at_once,
        accumulation=share // at_once,
        max_length=examples.max_length,
        gradient_checkpointing=checkpointing,
        trainable_parameters=trainable,
        parameters=parameters,
        expected_memory_bytes=estimate.of(at_once),
    )
    return chosen, estimate


def _steps(plan: TrainingPlan, examples: Examples) -> int:
    """As the trainer counts them."""
    an_epoch = math.ceil(len(examples.train) / plan.batch_size)
    return plan.max_steps or math.ceil(plan.epochs * an_epoch)


def _too_large(chosen: Chosen, estimate: Estimate, free: int) -> str:
    tokens = int((free - estimate.fixed) / (estimate.row / chosen.max_length)) if free > estimate.fixed else 0
    fits = (
        f"examples of {tokens:,} tokens would fit" if tokens >= 32 else "a smaller model or `qlora` on a GPU would fit"
    )
    need = f"{estimate.of(1) / 1e9:.1f} GB for one example of {chosen.max_length:,} tokens"
    return f"training needs about {need}, and {free / 1e9:.1f} GB are free: {fits}"


def _cpu() -> torch.device:
    return torch.device("cpu")


@contextmanager
def _loading(plan: TrainingPlan) -> Iterator[None]:
    """Say of a base model that cannot be had why that is."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the model
        said = str(error)
        if "gated" in said.lower() or "401 " in said or "403 " in said:
            why = f"the base model {plan.weights!r} is gated: give the worker a token of an account that may read it"
            raise Cannot("base_model_gated", f"{why} (HF_TOKEN)") from error
        if isinstance(error, OSError):
            why = f"the base model {plan.weights!r} cannot be loaded: {said.splitlines()[0][:300] if said else error!r}"
            raise Cannot("base_model_unavailable", why, retryable=not Path(plan.weights).is_absolute()) from error
        raise
