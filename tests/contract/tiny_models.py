"""Two-layer models with random weights, made on the spot: real files for the real loading code."""

from pathlib import Path
from typing import Any

SENTENCES = [
    "경복궁은 1395년에 창건된 조선 왕조의 법궁이다. 임진왜란 때 불에 탔다. 고종 때 다시 지었다.",
    "한라산은 제주도에 있는 해발 1,947미터의 화산이다. 남한에서 가장 높다.",
    "비빔밥은 밥에 나물과 고추장을 넣어 비벼 먹는 음식이다.",
    "Seoul is the capital of Korea.",
]
MAX_TOKENS = 126
LLAMA_TOKENS = 512


def xlm_roberta(folder: Path, *, scores: bool = False) -> Path:
    """An XLM-RoBERTa, like bge-m3 and the Korean rerankers; with `scores`, a classifier with one label."""
    import torch
    import transformers

    tokenizer = _tokenizer()
    config = transformers.XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=MAX_TOKENS + 2,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        type_vocab_size=1,
    )
    torch.manual_seed(7)
    made: Any = transformers.XLMRobertaForSequenceClassification if scores else transformers.XLMRobertaModel
    made(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def bge_m3(folder: Path) -> Path:
    """The same with the two heads of bge-m3."""
    import torch

    xlm_roberta(folder)
    torch.manual_seed(8)
    torch.save(torch.nn.Linear(32, 32).state_dict(), folder / "colbert_linear.pt")
    torch.save(torch.nn.Linear(32, 1).state_dict(), folder / "sparse_linear.pt")
    return folder


def sentence_transformer(folder: Path, **prompts: str) -> Path:
    """A sentence-transformers model with pooling over XLM-RoBERTa, and its own prompts."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    transformer = Transformer(str(xlm_roberta(folder / "base")))
    model = SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu", prompts=prompts or None)
    model.save(str(folder / "model"))
    return folder / "model"


def llama(folder: Path) -> Path:
    """A Llama with a chat template, which writes nonsense, and always the same at temperature 0."""
    import torch
    import transformers

    tokenizer = _bytes_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant:{% endif %}"
    )
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=LLAMA_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(7)
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.parameters():
            layer.mul_(8)  # as they are made, weights are so small that every token is as good as another
        model.lm_head.weight[tokenizer.all_special_ids] = 0  # it never ends by itself
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def adapter(base: Path, folder: Path, *, seed: int = 1, **config: Any) -> Path:
    """A LoRA adapter of random matrices for the model in `base`: strong enough to change what it writes."""
    import peft
    import torch
    import transformers

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_pretrained(str(base))
    wanted = {"r": 4, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **config}
    peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **wanted)).save_pretrained(str(folder))
    return folder


def _tokenizer() -> Any:
    import tokenizers
    import transformers
    from tokenizers import models, pre_tokenizers, processors, trainers

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    raw = tokenizers.Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    raw.train_from_iterator(SENTENCES, trainer)
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        cls_token="<s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=MAX_TOKENS,
    )


def _bytes_tokenizer() -> Any:
    """A token a byte: a letter of Hangul takes three, as in real models it may, and JSON can be written."""
    import tokenizers
    import transformers
    from tokenizers import decoders, models, pre_tokenizers

    special = ["<s>", "<pad>", "</s>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = tokenizers.Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(special)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=LLAMA_TOKENS
    )
