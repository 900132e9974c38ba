"""What else is made of trained weights: base and adapter as one model, GGUF for llama.cpp, ONNX."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import peft
import transformers

from infra.training.telling import Cannot
from schemas.kinds.training import Export
from schemas.kinds.training.plan import TrainingPlan

LLAMA_CPP: Final = "WELIP_TRAINING_LLAMA_CPP"
SCRIPT: Final = "convert_hf_to_gguf.py"


def check(plan: TrainingPlan) -> None:
    """Whether this machine has the tools for what is asked. Raises `Cannot` (`export_tool_missing`), with a remedy."""
    if "gguf" in plan.export and _script() is None:
        why = f"GGUF needs llama.cpp's {SCRIPT}: let {LLAMA_CPP} of the worker name a checkout of llama.cpp"
        raise Cannot("export_tool_missing", why)
    if "onnx" in plan.export and not _has_optimum():
        why = "ONNX needs Optimum in the environment of training: pip install 'optimum-onnx[onnxruntime]' there"
        raise Cannot("export_tool_missing", why)


def exported(plan: TrainingPlan, final: Path) -> dict[Export, str]:
    """Make what is asked of the weights in `final`; where it lies. Raises `Cannot` (`export_failed`)."""
    if not plan.export:
        return {}
    into = Path(plan.output) / "exports"
    into.mkdir()
    whole = final if plan.adapter == "full" else _merged(plan, final, into / "merged")
    made: dict[Export, str] = {}
    for kind in plan.export:
        match kind:
            case "merged":
                made[kind] = str(whole)
            case "gguf":
                made[kind] = str(_gguf(whole, into / "model.gguf"))
            case "onnx":
                made[kind] = str(_onnx(whole, into / "onnx"))
    return made


def _merged(plan: TrainingPlan, adapter: Path, into: Path) -> Path:
    """The base in the precision of its weights, the adapter added, on the processor: the device may be full."""
    base = transformers.AutoModelForCausalLM.from_pretrained(plan.weights, revision=plan.revision, dtype="auto")
    model = peft.PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    model.save_pretrained(str(into))
    transformers.AutoTokenizer.from_pretrained(str(adapter)).save_pretrained(str(into))
    return into


def _gguf(model: Path, file: Path) -> Path:
    script = _script()
    assert script is not None  # `check` made sure
    _run("GGUF", [sys.executable, str(script), str(model), "--outfile", str(file), "--outtype", "auto"])
    return file


def _onnx(model: Path, into: Path) -> Path:
    command = [sys.executable, "-m", "optimum.exporters.onnx", "--model", str(model)]
    _run("ONNX", [*command, "--task", "text-generation-with-past", str(into)])
    return into


def _run(what: str, command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        why = f"the model is trained, but cannot be written as {what}: {said[-1].strip()[:300]}"
        raise Cannot("export_failed", why)


def _script() -> Path | None:
    folder = os.environ.get(LLAMA_CPP)
    found = Path(folder) / SCRIPT if folder else None
    return found if found is not None and found.is_file() else None


def _has_optimum() -> bool:
    return importlib.util.find_spec("optimum") is not None and (
        importlib.util.find_spec("optimum.exporters.onnx") is not None
    )
