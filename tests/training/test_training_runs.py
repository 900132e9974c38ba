"""Runs of the process that trains, with TRL and a tiny Llama; `tests/contract/test_training_apart.py` runs them in the
environment of training.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")
pytest.importorskip("peft")

import torch
import transformers
from safetensors.torch import load_file, save_file

from infra.engines.adapters import checked
from infra.training import training
from infra.training.telling import Cannot, Teller
from infra.training.tokenised import ABOUT, About, made_with, recalled
from infra.training.training import train
from schemas.kinds.training import Hyperparameters
from schemas.kinds.training.plan import (
    FRAME,
    Begun,
    Counted,
    Ended,
    Frame,
    Saved,
    Stepped,
    Stopped,
    Tokenised,
    TrainingPlan,
)
from tests.contract import tiny_models

SAME = 1e-5
RULES = [(f"규칙 {n}은 무엇인가요?", f"규칙 {n}: 파랑 {n}.") for n in range(12)]


class Heard(Teller):
    """Keeps the frames. After `stop_after` steps it makes the plan's stop file."""

    def __init__(self, plan: TrainingPlan, stop_after: int | None = None) -> None:
        self.frames: list[Frame] = []
        self._stop_file = Path(plan.stop_file)
        self._stop_after = stop_after

    def tell(self, frame: Frame) -> None:
        self.frames.append(frame)
        if isinstance(frame, Stepped) and frame.step == self._stop_after:
            self._stop_file.touch()

    def losses(self) -> list[float]:
        """On what is held out, in order."""
        found = [one.validation_loss for one in self.frames if isinstance(one, Stepped)]
        return [loss for loss in found if loss is not None]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("base") / "tiny-llama")


def turn(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def rows(method: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for at, (question, answer) in enumerate(RULES):
        prompt, right, wrong = turn("user", question), turn("assistant", answer), turn("assistant", "모릅니다.")
        match method:
            case "sft":
                made.append({"prompt": prompt, "completion": right})
            case "kto":
                made.append({"prompt": prompt, "completion": wrong if at % 2 else right, "label": at % 2 == 0})
            case _:
                made.append({"prompt": prompt, "chosen": right, "rejected": wrong})
    return made


def plan(base: Path, folder: Path, method: str = "sft", **changes: Any) -> TrainingPlan:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "output").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows(method))
    for name in ("train", "validation"):
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    told: dict[str, Any] = {
        **Hyperparameters().model_dump(),
        "weights": str(base),
        "revision": None,
        "method": method,
        "adapter": "lora",
        "train": str(folder / "train.jsonl"),
        "validation": str(folder / "validation.jsonl"),
        "output": str(folder / "output"),
        "resume": None,
        "stop_file": str(folder / "stop"),
        "max_steps": 4,
        "epochs": 100,
        "learning_rate": 1e-3,
        "batch_size": 4,
        "alpha": 16,
        "rank": 4,
        "evaluate_every": 2,
    }
    return TrainingPlan.model_validate(told | changes)


def run(given: TrainingPlan, stop_after: int | None = None) -> tuple[Ended | Stopped, Heard]:
    heard = Heard(given, stop_after)
    return train(given, heard), heard


@pytest.mark.parametrize(
    ("method", "adapter"),
    [("sft", "lora"), ("sft", "dora"), ("sft", "full"), ("dpo", "lora"), ("orpo", "lora"), ("kto", "lora")],
)
def test_each_method_and_adapter_lowers_the_loss_on_what_is_held_out(
    base: Path, tmp_path: Path, method: str, adapter: str
) -> None:
    ended, heard = run(plan(base, tmp_path, method, adapter=adapter))
    assert isinstance(ended, Ended)
    counted, begun = (next(one for one in heard.frames if isinstance(one, kind)) for kind in (Counted, Begun))
    assert isinstance(counted, Counted)
    assert isinstance(begun, Begun)
    assert (counted.rows, counted.validation_rows, counted.masked_away) == (12, 12, 0)
    assert (begun.step, begun.steps, begun.chosen.batch_size) == (0, 4, 4)
    losses = heard.losses()
    assert losses[-1] < losses[0], losses
    assert ended.validation_loss == pytest.approx(losses[-1])
    final = {path.name for path in Path(ended.folder).iterdir()}
    assert "chat_template.jinja" in final
    assert ("model.safetensors" in final) == (adapter == "full")
    if adapter == "lora":
        assert checked(Path(ended.folder), bases=[str(base)]).rank == 4
    metrics = (tmp_path / "output" / "metrics.jsonl").read_text().splitlines()
    assert len([one for one in map(json.loads, metrics) if "loss" in one]) == 4


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo", "kto"])
def test_what_was_tokenised_once_is_trained_on_as_it_is(
    base: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, heard = run(plan(base, tmp_path / "first", method, max_steps=1))
    [made] = [one for one in heard.frames if isinstance(one, Tokenised)]
    counts = [one for one in heard.frames if isinstance(one, Counted)]

    def no_more(*_: Any) -> Any:
        raise AssertionError("the examples are tokenised already")

    with monkeypatch.context() as patched:
        patched.setattr(training, "counted", no_more)
        again, told = run(plan(base, tmp_path / "again", method, max_steps=1, tokenised=made.file))
    assert [one for one in told.frames if isinstance(one, Counted)] == counts
    assert not [one for one in told.frames if isinstance(one, Tokenised)]
    assert told.losses() == pytest.approx(heard.losses(), abs=1e-7)
    there, here = weights(first), weights(again)
    assert max(float((there[name] - here[name]).abs().max()) for name in there) < SAME
    how = About.model_validate_json(zipfile.ZipFile(made.file).read(ABOUT)).made_with
    fits = plan(base, tmp_path / "fits", method, tokenised=made.file)
    assert recalled(fits, how) is not None
    assert recalled(fits, "made with another tokenizer") is None
    data = bytearray(Path(made.file).read_bytes())
    data[len(data) // 2] ^= 1
    Path(made.file).write_bytes(data)
    assert recalled(fits, how) is None, "it is damaged"


def test_tokens_are_made_with_a_tokenizer_its_template_and_the_settings_that_decide(base: Path, tmp_path: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    other = transformers.AutoTokenizer.from_pretrained(base)
    other.chat_template = tokenizer.chat_template + " "
    given = plan(base, tmp_path)
    hashes = [
        made_with(given, tokenizer, 512),
        made_with(given, other, 512),
        made_with(given, tokenizer, 256),
        made_with(given.model_copy(update={"max_length": 64}), tokenizer, 512),
        made_with(given.model_copy(update={"completion_only": False}), tokenizer, 512),
    ]
    assert len(set(hashes)) == len(hashes)
    rate = given.model_copy(update={"learning_rate": 0.5, "rank": 8, "output": "elsewhere"})
    assert made_with(rate, transformers.AutoTokenizer.from_pretrained(base), 512) == hashes[0]


def weights(ended: Ended | Stopped) -> dict[str, torch.Tensor]:
    assert isinstance(ended, Ended)
    return load_file(Path(ended.folder) / "adapter_model.safetensors")


def test_a_run_that_goes_on_ends_with_the_losses_and_weights_of_one_that_nobody_disturbed(
    base: Path, tmp_path: Path
) -> None:
    stop_after = 3  # then step 4 is in the middle of an epoch
    how = {"max_steps": 7, "dropout": 0.1}
    whole, undisturbed = run(plan(base, tmp_path / "whole", **how))
    first, heard = run(plan(base, tmp_path / "first", **how), stop_after)
    assert first == Stopped(step=stop_after + 1)
    [saved] = [one for one in heard.frames if isinstance(one, Saved)]
    second, resumed = run(plan(base, tmp_path / "second", resume=saved.folder, **how))
    begun = next(one for one in resumed.frames if isinstance(one, Begun))
    assert begun.step == saved.step

    def by_step(heard: Heard) -> dict[int, float]:
        return {one.step: one.loss for one in heard.frames if isinstance(one, Stepped) and one.loss is not None}

    wanted, got = by_step(undisturbed), by_step(heard) | by_step(resumed)
    assert wanted.keys() == got.keys() == set(range(1, 8))
    assert [got[step] for step in wanted] == pytest.approx(list(wanted.values()), abs=SAME)
    assert isinstance(whole, Ended)
    assert isinstance(second, Ended)
    assert second.validation_loss == pytest.approx(whole.validation_loss, abs=SAME)
    there, here = weights(whole), weights(second)
    assert there.keys() == here.keys()
    assert max(float((there[name] - here[name]).abs().max()) for name in there) < SAME
    left = next(one for one in resumed.frames if isinstance(one, Stepped) and one.loss is not None)
    assert left.left_s <= (7 - saved.step) * left.seconds, "the time left counts steps of this process alone"


def test_checkpoints_come_when_they_are_due(base: Path, tmp_path: Path) -> None:
    _, heard = run(plan(base, tmp_path, checkpoint_every_steps=2))
    saved = [one for one in heard.frames if isinstance(one, Saved)]
    assert [one.step for one in saved] == [2, 4]
    assert all((Path(one.folder) / "optimizer.pt").exists() for one in saved)


def test_training_stops_early_when_nothing_is_gained(base: Path, tmp_path: Path) -> None:
    ended, _ = run(plan(base, tmp_path, learning_rate=1e-12, early_stopping=2, evaluate_every=1))
    assert ended.step == 3


def test_a_loss_that_is_no_number_ends_the_run_and_is_not_saved(base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    tiny_models.llama(broken)
    stored = broken / "model.safetensors"
    tensors = load_file(stored)
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, stored, metadata={"format": "pt"})
    given = plan(broken, tmp_path / "run", validation=None, checkpoint_every_steps=1)
    heard = Heard(given)
    with pytest.raises(Cannot) as error:
        train(given, heard)
    assert error.value.failed.code == "loss_not_finite"
    assert not [one for one in heard.frames if isinstance(one, Saved)]


def test_what_truncation_would_mask_away_is_left_out_and_counted(base: Path, tmp_path: Path) -> None:
    given = plan(base, tmp_path, max_length=64, max_steps=1)
    with Path(given.train).open("a", encoding="utf-8") as file:
        long = {"prompt": turn("user", "길" * 40), "completion": turn("assistant", "답")}
        file.write(json.dumps(long) + "\n")
    _, heard = run(given)
    counted = next(one for one in heard.frames if isinstance(one, Counted))
    assert (counted.rows, counted.masked_away) == (12, 1)
    assert counted.too_long >= 1
    assert counted.longest > 120


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"adapter": "qlora"}, "gpu_needed"),
        ({"method": "kto", "batch_size": 1}, "batch_too_small"),
        ({"packing": True}, "flash_attention_missing"),
        ({"max_length": 4_096}, "max_length_too_large"),
        ({"max_length": 16}, "dataset_too_long"),
        ({"weights": "/nowhere/at-all"}, "base_model_unavailable"),
    ],
)
def test_what_cannot_be_trained_is_said_with_a_code(
    base: Path, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    if code == "gpu_needed" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(Cannot) as error:
        run(plan(base, tmp_path, **changes))
    assert error.value.failed.code == code


def test_two_processes_share_a_batch_and_one_of_them_tells(base: Path, tmp_path: Path) -> None:
    given = plan(base, tmp_path, max_steps=2)
    file = tmp_path / "plan.json"
    file.write_text(given.model_dump_json(), encoding="utf-8")
    launched = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "infra.training.runner"]
    worker_end, process_end = os.pipe()
    with os.fdopen(worker_end), os.fdopen(process_end, "wb"):  # a process whose standard input ends, ends too
        done = subprocess.run(
            [sys.executable, *launched, str(file)], stdin=worker_end, capture_output=True, timeout=250, check=False
        )
    told = [FRAME.validate_json(one) for one in done.stdout.splitlines() if one.startswith(b'{"event"')]
    begun = [one for one in told if isinstance(one, Begun)]
    assert [(one.chosen.processes, one.chosen.batch_size) for one in begun] == [(2, 4)], done.stderr[-3000:]
    assert isinstance(told[-1], Ended)
