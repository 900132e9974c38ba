"""`make audit`: the pinned packages against the vulnerabilities that PyPI knows. Ends with 1 for a finding.

Where the service cannot be asked, it says so and ends with 3: nothing was audited. With `--may-be-unreachable`, for
builds without a way out, it says so and ends with 0. pip-audit itself calls a package that the
service did not answer for "skipped", and an audit of nothing but such packages "no known vulnerabilities".
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
IGNORED = ROOT / ".ci" / "ignored-vulnerabilities.txt"
WITHIN_S = 300


UNREACHABLE = 3


def ignored(text: str) -> dict[str, str]:
    """Identifiers and why each is ignored, from lines `ID reason`. Raises `ValueError` for a line without a reason."""
    found = {}
    for line in text.splitlines():
        identifier, _, reason = line.strip().partition(" ")
        if identifier and not identifier.startswith("#"):
            if not reason.strip():
                raise ValueError(f"{identifier} is ignored without a reason")
            found[identifier] = reason.strip()
    return found


def verdict(dependencies: list[dict[str, Any]], reasons: dict[str, str]) -> tuple[int, list[str]]:
    """The exit status, and what to say of pip-audit's `dependencies`."""
    audited = [one for one in dependencies if "vulns" in one]
    if not audited:
        return UNREACHABLE, ["audit: the vulnerability service answered for no package here; nothing was audited"]
    status, lines = 0, []
    for one in audited:
        for finding in one["vulns"]:
            names = {finding["id"], *finding.get("aliases", ())}
            known = next((f"ignored: {reasons[name]}" for name in names if name in reasons), None)
            fixed = ", ".join(finding.get("fix_versions", ())) or "no version"
            lines.append(f"audit: {one['name']} {one['version']}: {finding['id']}, {known or f'fixed in {fixed}'}")
            status = status if known else 1
    skipped = sorted(one["name"] for one in dependencies if "vulns" not in one)
    if skipped:
        lines.append(f"audit: not audited: {', '.join(skipped)}")
    lines.append(f"audit: {len(audited)} packages, {'vulnerable' if status else 'nothing to mend'}")
    return status, lines


def main() -> int:
    """Run pip-audit on constraints.txt."""
    reasons = ignored(IGNORED.read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "pip_audit", "-r", str(ROOT / "constraints.txt"), "--no-deps", "--disable-pip"]
    try:
        asked = subprocess.run(
            [*command, "-f", "json", "--progress-spinner", "off"],
            check=False,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
        )
        dependencies = json.loads(asked.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        status, lines = UNREACHABLE, ["audit: the vulnerability service did not answer in time; nothing was audited"]
    except (ValueError, KeyError):
        why = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        status, lines = (
            UNREACHABLE,
            [f"audit: the vulnerability service cannot be reached; nothing was audited ({why[:200]})"],
        )
    else:
        status, lines = verdict(dependencies, reasons)
    print("\n".join(lines))
    return 0 if status == UNREACHABLE and "--may-be-unreachable" in sys.argv[1:] else status


if __name__ == "__main__":
    sys.exit(main())
