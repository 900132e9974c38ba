"""How `make audit` judges answers: a finding fails the build, and silence does not pass for health."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

spec = importlib.util.spec_from_file_location("audit", Path(__file__).parents[2] / ".ci" / "audit.py")
assert spec is not None
assert spec.loader is not None
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

VULNERABLE = {
    "name": "jinja2",
    "version": "3.0.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2024-1"], "fix_versions": ["3.1.4"]}],
}
SOUND = {"name": "orjson", "version": "3.11", "vulns": []}
SKIPPED = {"name": "minio", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("dependencies", "reasons", "status", "said"),
    [
        ([SOUND, VULNERABLE], {}, 1, "jinja2 3.0.0: PYSEC-1, fixed in 3.1.4"),
        ([VULNERABLE], {"CVE-2024-1": "no templates here"}, 0, "ignored: no templates here"),
        ([SOUND], {}, 0, "1 packages, nothing to mend"),
        ([SOUND, SKIPPED], {}, 0, "not audited: minio"),
        ([SKIPPED], {}, audit.UNREACHABLE, "nothing was audited"),
        ([], {}, audit.UNREACHABLE, "nothing was audited"),
    ],
)
def test_a_finding_fails_and_silence_is_said(
    dependencies: list[dict[str, Any]], reasons: dict[str, str], status: int, said: str
) -> None:
    found, lines = audit.verdict(dependencies, reasons)
    assert found == status
    assert said in "\n".join(lines)


def test_nothing_is_ignored_without_a_reason() -> None:
    assert audit.ignored("# why\nCVE-1 not used\n\n") == {"CVE-1": "not used"}
    with pytest.raises(ValueError, match="CVE-2 is ignored without a reason"):
        audit.ignored("CVE-2\n")
    audit.ignored(audit.IGNORED.read_text())
