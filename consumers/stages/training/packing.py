"""What a training leaves, as one archive: an adapter or weights, with tokenizer and chat template."""

import json
import zipfile
from pathlib import Path
from typing import Final

KEPT: Final = frozenset({".safetensors", ".json", ".jinja", ".txt", ".model", ".onnx", ".onnx_data"})
LEFT_OUT: Final = frozenset({"trainer_state.json"})
CONFIG: Final = "adapter_config.json"


def pack(folder: Path, archive: Path, *, base: str) -> None:
    """Write the files of a folder that belong to a model into a zip archive. Blocking.

    `base`: what the adapter's configuration calls the model that it was trained on; the path of its weights is nothing
    that the archive's owner should see.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(folder.iterdir()):
            if not path.is_file() or path.suffix not in KEPT or path.name in LEFT_OUT:
                continue
            if path.name == CONFIG:
                config = {**json.loads(path.read_text(encoding="utf-8")), "base_model_name_or_path": base}
                packed.writestr(path.name, json.dumps(config, indent=2))
            else:
                packed.write(path, path.name)
