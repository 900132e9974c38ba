"""What contributors get: the workflow and the hooks run what `make check` runs, and the files are well-formed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = ".github/workflows/ci.yml"
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())


def test_the_workflow_follows_the_schema_and_runs_what_ci_runs() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    jobs = yaml.safe_load((ROOT / WORKFLOW).read_text())["jobs"]
    assert [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_hooks_run_commands_of_make_check() -> None:
    recipes = re.findall(r"^(?:lint|check):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(recipes) == 2
    of_make = {command for recipe in recipes for command in re.findall(r"\$\(BIN\)/(\S+)", recipe)}
    hooks = [hook for repository in HOOKS["repos"] for hook in repository["hooks"]]
    entries = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    assert entries == of_make
    assert all(hook["language"] == "system" for hook in hooks)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md"])
def test_a_command_that_a_page_names_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / name).read_text()))
    assert named
    assert named <= targets


def test_text_files_follow_the_editor_s_rules() -> None:
    kept = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    files = [ROOT / name for name in kept.split("\0") if Path(name).suffix in {".py", ".md", ".yml", ".toml"}]
    if not files:
        pytest.skip("not a git checkout: nobody can say which files are the project's")
    wrong = [
        str(file.relative_to(ROOT))
        for file in files
        if file.exists() and (text := file.read_bytes()) and (b"\r\n" in text or not text.endswith(b"\n"))
    ]
    assert wrong == []
