"""What else is made of trained weights; `tests/contract/test_training_apart.py` runs this."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")
pytest.importorskip("peft")

import peft
import torch
import transformers

from infra.training import exporting
from infra.training.telling import Cannot
from tests.contract import tiny_models
from tests.training.test_training_runs import plan, run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llama(tmp_path_factory.mktemp("exported") / "tiny-llama")


def test_merged_weights_answer_as_base_and_adapter_do(base: Path, tmp_path: Path) -> None:
    ended, _ = run(plan(base, tmp_path, max_steps=2, learning_rate=0.01, validation=None, export=["merged"]))
    merged = Path(ended.exports["merged"])
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja"} <= {path.name for path in merged.iterdir()}
    assert str(base) not in (merged / "config.json").read_text()
    whole, plain = (transformers.AutoModelForCausalLM.from_pretrained(one) for one in (merged, base))
    asked = torch.arange(1, 9).unsqueeze(0)
    with torch.no_grad():
        before = plain(asked).logits
        apart = peft.PeftModel.from_pretrained(plain, ended.folder)(asked).logits
        told = whole(asked).logits
    # Sums in another order differ in the last digits of logits of about 10.
    assert float((told - apart).abs().max()) < 1e-3 < 1e-1 < float((told - before).abs().max())


@pytest.mark.parametrize("form", ["gguf", "onnx"])
def test_a_form_whose_tool_is_not_there_is_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.delenv(exporting.LLAMA_CPP, raising=False)
    monkeypatch.setitem(sys.modules, "optimum", None)
    with pytest.raises(Cannot) as error:
        run(plan(tmp_path / "nowhere", tmp_path, export=[form]))
    assert error.value.failed.code == "export_tool_missing"


def test_gguf_is_written_by_the_script_of_llama_cpp(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "llama.cpp" / exporting.SCRIPT
    script.parent.mkdir()
    monkeypatch.setenv(exporting.LLAMA_CPP, str(script.parent))
    script.write_text(
        "import pathlib, sys\nassert (pathlib.Path(sys.argv[1]) / 'model.safetensors').exists()\n"
        "pathlib.Path(sys.argv[sys.argv.index('--outfile') + 1]).write_bytes(b'GGUF')\n"
    )
    given = plan(base, tmp_path / "run", max_steps=1, validation=None, adapter="full", export=["gguf"])
    ended, _ = run(given)
    assert Path(ended.exports["gguf"]).read_bytes() == b"GGUF"
    script.write_text("raise SystemExit('unknown architecture')")
    (Path(given.output) / "exports").rename(tmp_path / "first")
    with pytest.raises(Cannot, match="unknown architecture"):
        exporting.exported(given, Path(ended.folder))
