"""The models file: what it may say, how its errors are reported, and which model a requested name means."""

from pathlib import Path
from typing import Any

import pytest

from infra.models import ModelsInvalid, read_models
from infra.settings import EmbedderSettings, GeneratorSettings, ModelSettings, RerankerSettings
from schemas.models import ModelNotFound, Models, OpenAIModel, RerankerModel, VllmModel

TWO = """
[[models]]
name = "qwen3-8b"
engine = "vllm"
weights = "Qwen/Qwen3-8B"
revision = "b968826d9c46"
context_length = 32768
limits = { max_tokens = 4096, at_once = 64, requests_per_minute = 600 }
price = { input = 0.05, output = 0.2 }
options = { gpu_memory_utilization = 0.9, enable_prefix_caching = true }

[[models]]
name = "vendor"
engine = "openai"
url = "https://llm.example.com/v1"
served_as = "gpt-x"
api_key_env = "VENDOR_KEY"
tasks = ["chat", "embeddings"]
"""


def read(
    folder: Path,
    text: str | None = None,
    name: str = "models.toml",
    embedder: str = "none",
    reranker: str = "none",
    **generator: Any,
) -> Models:
    path = None
    if text is not None:
        path = folder / name
        path.write_text(text, encoding="utf-8")
    return read_models(
        ModelSettings(WELIP_MODELS=path),
        GeneratorSettings.model_validate(generator),
        EmbedderSettings.model_validate({"WELIP_EMBEDDER": embedder}),
        RerankerSettings.model_validate({"WELIP_RERANKER": reranker}),
    )


def test_every_field_of_a_model_is_read(tmp_path: Path) -> None:
    qwen, vendor = read(tmp_path, TWO)
    assert isinstance(qwen, VllmModel)
    assert (qwen.name, qwen.weights, qwen.revision) == ("qwen3-8b", "Qwen/Qwen3-8B", "b968826d9c46")
    assert (qwen.context_length, qwen.limits.at_once, qwen.limits.max_tokens) == (32768, 64, 4096)
    assert qwen.price is not None
    assert qwen.options == {"gpu_memory_utilization": 0.9, "enable_prefix_caching": True}
    assert isinstance(vendor, OpenAIModel)
    assert (vendor.on_the_server, vendor.title, vendor.tasks) == ("gpt-x", "vendor", ("chat", "embeddings"))


def test_yaml_says_the_same_as_toml(tmp_path: Path) -> None:
    yaml = 'models:\n- {name: a, engine: openai, url: "http://h/v1"}\n'
    toml = '[[models]]\nname = "a"\nengine = "openai"\nurl = "http://h/v1"\n'
    assert read(tmp_path, yaml, "m.yaml").rows == read(tmp_path, yaml, "m.yml").rows == read(tmp_path, toml).rows


def model(**fields: str) -> str:
    given = {"name": '"m"', "engine": '"openai"', "url": '"http://h/v1"', **fields}
    return "[[models]]\n" + "".join(f"{name} = {value}\n" for name, value in given.items() if value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (model(url=""), "model 'm': url: Field required"),
        (model(url='"h:80"'), "model 'm': url: "),
        (model(engine='"magic"'), "model 'm': Input tag 'magic'"),
        (model(name=""), "model number 1: name: Field required"),
        (model(name='"a b"'), "model 'a b': name: "),
        (model(name='"base:adapter"'), "model 'base:adapter': name: "),
        (model(name='"한국어"'), "model '한국어': name: "),
        (model(limits="{ at_once = 0 }"), r"model 'm': limits\.at_once: "),
        (model(limits="{ requests_per_minute = nan }"), r"model 'm': limits\.requests_per_minute: "),
        (model(tasks='["sing"]'), r"model 'm': tasks\.0: "),
        (model(tasks="[]"), "model 'm': tasks: "),
        (model(weights='"x"'), "model 'm': weights: Extra inputs"),
        (model(api_key='"k"', api_key_env='"K"'), "model 'm': give api_key or api_key_env"),
        (model(engine='"vllm"', url="", weights='"http://h/x"'), "model 'm': weights: give a folder"),
        (model(engine='"vllm"', url="", weights='"s3://bucket"'), "model 'm': weights: give a folder"),
        (model(engine='"vllm"', url="", weights='"blobs://"'), "model 'm': weights: give a folder"),
        (model(engine='"vllm"', url="", weights='"blobs://x"', revision='"r"'), "model 'm': revision: only a model on"),
        (model(engine='"vllm"', url="", weights='"a/b"', sha256=f'{{ a = "{"0" * 64}" }}'), "model 'm': sha256: only"),
        (model(engine='"vllm"', url="", weights='"/x"', tasks='["rerank"]'), r"model 'm': tasks\.0: "),
        (model(engine='"cross-encoder"', url="", weights='"/x"', tasks='["chat"]'), r"model 'm': tasks\.0: "),
        (model(tasks='["rerank"]') + model(name='"n"', tasks='["rerank"]'), "one reranker .*: leave 'm' or 'n' out"),
        (model(engine='"vllm"', url="", weights='"/x"', revision='"r"'), "model 'm': revision: only a model on a hub"),
        (model(engine='"vllm"', url="", weights='"/x"', sha256='{ a = "no" }'), r"model 'm': sha256\.a: "),
        (model(engine='"vllm"', url="", weights='"/x"', tasks='["embeddings"]'), r"model 'm': tasks\.0: "),
        (model() + model(), "model 'm': name: there are two models of this name"),
        (model(name='"a.b"') + model(name='"a_b"'), "model 'a_b': name: Kafka takes 'a.b' for the same name"),
        ("models = []", "models: List should have at least 1 item"),
        ("", "models: Field required"),
        ("models = 3", "models: "),
        ("models = [3]", "model number 1: "),
        ("[[models]", "line 1"),
    ],
)
def test_an_error_names_file_model_and_field(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ModelsInvalid, match=said) as refused:
        read(tmp_path, text)
    assert refused.value.message.startswith(str(tmp_path / "models.toml"))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.json", "{}", "ends in"),
        ("m.yaml", "a: [", "m.yaml"),
        ("m.yaml", "- a", "m.yaml: "),
        ("m.yaml", "", "m.yaml: "),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(ModelsInvalid, match=said):
        read(tmp_path, text, name)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelsInvalid, match="No such file"):
        read_models(
            ModelSettings(WELIP_MODELS=tmp_path / "no.toml"),
            GeneratorSettings(),
            EmbedderSettings(),
            RerankerSettings(),
        )
    (tmp_path / "models.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelsInvalid, match=r"models\.toml"):
        read_models(
            ModelSettings(WELIP_MODELS=tmp_path / "models.toml"),
            GeneratorSettings(),
            EmbedderSettings(),
            RerankerSettings(),
        )


def test_keys_do_not_show(tmp_path: Path) -> None:
    found = read(tmp_path, model(api_key='"hush"', headers='{ x = "hush" }'))
    assert "hush" not in f"{found!r} {found.rows}"
    with pytest.raises(ModelsInvalid) as refused:
        read(tmp_path, model(api_key='"hush"', url='"ftp://hush"'))
    assert "hush" not in refused.value.message


def test_the_settings_of_before_mean_one_model_named_default(tmp_path: Path) -> None:
    nothing = read(tmp_path)
    assert [(row.name, row.engine, row.title) for row in nothing] == [("default", "extractive", "extractive")]
    one = read(tmp_path, embedder="e5-small", WELIP_GENERATOR="openai", model="qwen", url="http://h/v1")
    assert one.names() == ["default"]
    chat, vectors = one.find("default", "chat"), one.find("default", "embeddings")
    assert isinstance(chat, OpenAIModel)
    assert (chat.on_the_server, chat.url) == ("qwen", "http://h/v1")
    assert vectors is not None
    assert vectors.engine == "embedder"
    assert one.find("qwen", "chat") is chat, "what results call it may be asked for"


def test_settings_add_to_a_file_what_it_does_not_name(tmp_path: Path) -> None:
    file = read(tmp_path, model(), embedder="e5-small")
    assert [(row.name, row.engine) for row in file] == [("m", "openai"), ("default", "embedder")]
    only_vectors = read(tmp_path, model(tasks='["embeddings"]'))
    assert [(row.name, row.engine) for row in only_vectors] == [("m", "openai"), ("default", "extractive")]
    with pytest.raises(ModelsInvalid, match="'default': WELIP_GENERATOR names"):
        read(tmp_path, model(name='"default"'), WELIP_GENERATOR="openai")


def test_a_reranker_may_be_a_server_or_a_cross_encoder_here_and_is_one(tmp_path: Path) -> None:
    [server, *_] = read(tmp_path, model(tasks='["rerank"]'))
    assert server.can("rerank")
    assert not server.can("answers")
    local = read(tmp_path, model(engine='"cross-encoder"', url="", weights='"blobs://models/ko"', batch="8"))
    found = local.default("rerank")
    assert isinstance(found, RerankerModel)
    assert (found.stored, found.batch, found.tasks) == ((None, "models/ko"), 8, ("rerank",))
    assert local.names("chat") == []
    with pytest.raises(ModelsInvalid, match="leave 'm' or WELIP_RERANKER out"):
        read(tmp_path, model(tasks='["rerank"]'), reranker="endpoint")
    assert read(tmp_path, model(), reranker="endpoint").default("rerank") is None


def test_default_is_the_model_of_that_name_or_the_first_that_can(tmp_path: Path) -> None:
    found = read(tmp_path, TWO)
    assert found.wanted("default", "chat", field="f").name == "qwen3-8b"
    assert found.wanted("default", "answers", field="f").name == "qwen3-8b"
    assert found.wanted("default", "embeddings", field="f").name == "vendor"
    named = read(tmp_path, TWO + model(name='"default"'))
    assert named.wanted("default", "chat", field="f").name == "default"


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("gone", "chat", "'gone' is not here; models for 'chat': qwen3-8b, vendor"),
        ("qwen3-8b", "embeddings", "'qwen3-8b' cannot do 'embeddings'; models for 'embeddings': vendor"),
    ],
)
def test_a_model_that_is_not_there_or_cannot_is_refused_with_those_there_are(
    tmp_path: Path, name: str, task: Any, said: str
) -> None:
    with pytest.raises(ModelNotFound, match=said) as refused:
        read(tmp_path, TWO).wanted(name, task, field="input.model")
    assert (refused.value.reason, refused.value.field) == ("model_not_found", "input.model")


def test_a_deployment_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no model of this deployment can do 'chat'"):
        read(tmp_path).wanted("default", "chat", field="input.model")
