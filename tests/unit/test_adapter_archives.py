"""An uploaded adapter is an archive of a stranger: read in parts, within limits, and refused with the reason."""

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from infra.engines import adapter_archives
from infra.engines.adapter_archives import AdapterArchive
from infra.engines.adapters import CONFIG, WEIGHTS
from schemas.errors import InvalidInput
from tests.unit.test_adapters import BASE, CONFIGURATION, pair, safetensors

FILES = {CONFIG: json.dumps(CONFIGURATION).encode(), WEIGHTS: safetensors(pair())}


def archive(files: dict[str, bytes] | None = None, *, method: int = zipfile.ZIP_DEFLATED, **more: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as made:
        for name, content in {**(FILES if files is None else files), **more}.items():
            made.writestr(name, content)
    return data.getvalue()


def opened(data: bytes) -> AdapterArchive:
    return AdapterArchive(lambda start, length: data[start : start + length], len(data))


def unpacked(data: bytes, **limits: Any) -> bytes:
    found = opened(data)
    found.checked(bases=[BASE], **limits)
    weights = found.weights()
    return b"".join(iter(weights.read, b""))


def refusal(data: bytes, **limits: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        unpacked(data, **limits)
    assert caught.value.reason == "adapter_refused"
    return caught.value.message


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("folder", ["", "mine/", "./"])
def test_an_adapter_is_read_from_the_root_or_from_a_folder(method: int, folder: str) -> None:
    found = opened(archive({folder + name: data for name, data in FILES.items()}, method=method))
    packed = found.checked(bases=[BASE])
    assert (packed.adapter.rank, packed.size) == (4, len(FILES[WEIGHTS]))
    assert packed.config == FILES[CONFIG]
    assert b"".join(iter(found.weights().read, b"")) == FILES[WEIGHTS]


def test_a_check_reads_a_small_part_of_large_weights() -> None:
    large = {"base.q_proj.lora_A.weight": [4, 2**20], "base.q_proj.lora_B.weight": [2**20, 4]}
    data = archive({**FILES, WEIGHTS: safetensors(large)}, method=zipfile.ZIP_STORED)
    read = 0

    def part(start: int, length: int) -> bytes:
        nonlocal read
        read += length
        return data[start : start + length]

    AdapterArchive(part, len(data)).checked(bases=[BASE])
    assert len(data) > 30_000_000
    assert read < 2_000_000


def without(name: str) -> bytes:
    return archive({one: data for one, data in FILES.items() if one != name})


def link() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        for name, content in FILES.items():
            made.writestr(name, content)
        one = zipfile.ZipInfo("passwords")
        one.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(one, "/etc/passwd")
    return data.getvalue()


def flagged() -> bytes:
    data = bytearray(archive(method=zipfile.ZIP_STORED))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


def changed() -> bytes:
    """One byte of the weights is not what the checksum says."""
    data = bytearray(archive(method=zipfile.ZIP_STORED))
    data[data.index(FILES[WEIGHTS]) + len(FILES[WEIGHTS]) - 1] ^= 1
    return bytes(data)


def lying() -> bytes:
    """The table of contents says that the packed weights are larger than what they unpack to."""
    data = bytearray(archive())
    at = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    (size,) = struct.unpack_from("<I", data, at + 24)
    struct.pack_into("<I", data, at + 24, size + 1_000_000)
    return bytes(data)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "no archive": (lambda: b"PK\x03\x04 nothing", "no readable zip"),
    "empty": (lambda: b"", "no readable zip"),
    "cut off": (lambda: archive()[:-30], "no readable zip"),
    "no configuration": (lambda: without(CONFIG), f"no {CONFIG}"),
    "no weights": (lambda: without(WEIGHTS), f"no {WEIGHTS}"),
    "two of them": (lambda: archive(**{f"other/{CONFIG}": FILES[CONFIG]}), "more than one"),
    "a path upwards": (lambda: archive(**{"../../etc/cron.d/x": b"x"}), "leaves its folder"),
    "an absolute path": (lambda: archive(**{"/etc/cron.d/x": b"x"}), "leaves its folder"),
    "a path of Windows": (lambda: archive(**{"..\\x": b"x"}), "leaves its folder"),
    "code": (lambda: archive(**{"adapter_model.bin": b"x"}), "may run code"),
    "a link": (link, "holds a link"),
    "encrypted": (flagged, "encrypted"),
    "bzip2": (lambda: archive(method=zipfile.ZIP_BZIP2), "another method"),
    "lzma": (lambda: archive(method=zipfile.ZIP_LZMA), "another method"),
    "a changed byte": (changed, "no readable zip"),
    "a size that is not true": (lying, ""),
    "many files": (lambda: archive(**{f"{n}.txt": b"" for n in range(1_001)}), "more than 1000 files"),
    "a large configuration": (lambda: archive({**FILES, CONFIG: b" " * 2**20 + FILES[CONFIG]}), "1 MiB"),
    "DoRA": (lambda: archive({**FILES, CONFIG: json.dumps({**CONFIGURATION, "use_dora": True}).encode()}), "DoRA"),
    "another base": (
        lambda: archive(
            {**FILES, CONFIG: json.dumps({**CONFIGURATION, "base_model_name_or_path": "x/Other"}).encode()}
        ),
        "x/Other",
    ),
    "a configuration in another encoding": (
        lambda: archive({**FILES, CONFIG: FILES[CONFIG].decode().encode("utf-16")}),
        "not JSON",
    ),
    "other tensors": (lambda: archive({**FILES, WEIGHTS: safetensors({"lm_head.weight": [4, 4]})}), "no matrix"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_no_adapter_may_hold_is_refused_with_the_reason(case: str) -> None:
    make, why = HOSTILE[case]
    assert why in refusal(make())


def test_a_rank_above_the_engines_limit_is_refused() -> None:
    assert "rank 4, and the engine takes at most 2" in refusal(archive(), max_rank=2)


def test_an_archive_that_unpacks_to_more_than_any_adapter_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_archives, "MOST_BYTES", 100)
    assert "weights of more than" in refusal(archive())


def test_a_table_of_contents_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_archives, "TABLE_BYTES", 100_000)
    read = 0
    data = archive(**{f"{n:0200}.txt": b"" for n in range(1_000)})

    def part(start: int, length: int) -> bytes:
        nonlocal read
        read += length
        return data[start : start + length]

    with pytest.raises(InvalidInput, match="table of contents"):
        AdapterArchive(part, len(data))
    assert read <= 100_000
