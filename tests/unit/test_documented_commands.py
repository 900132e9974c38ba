"""Every command that a page shows exists, with each of its options, and both READMEs show the same."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from consumers.tuning.command import app as tuning
from producers.client.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for folder in (".", "docs", "benchmarks", "examples") for path in (ROOT / folder).glob("*.md"))
WELIP = typer.main.get_command(app)
BECOMES = {"tune": typer.main.get_command(tuning)}
"""Commands that pass everything on to another program."""
UsageError = typer.BadParameter.__mro__[1]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def shown(page: Path) -> list[str]:
    """The lines of a page's console blocks that are typed, without their comments."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    typed = re.findall(r"^\$ ((?:.*\\\n)*.*)", "\n".join(blocks), re.MULTILINE)
    return [re.sub(r"(^|\s)#\s.*", "", line).replace("\\\n", " ").strip() for line in typed]


def commands(page: Path, program: str) -> list[list[str]]:
    """What the page has a reader give to a program."""
    parts = [part for line in shown(page) for part in re.split(r"&&|\|(?= )|;", line)]
    given = [shlex.split(part, comments=True) for part in parts if re.search(rf"(^|[ /]){program}( |$)", part)]
    return [words[next(n for n, word in enumerate(words) if Path(word).name == program) + 1 :] for words in given]


def unknown(words: list[str]) -> str | None:
    """What is wrong with a command of `welip`: a name or an option that it does not have."""
    command, rest = WELIP, words
    while rest and not command.context_settings.get("ignore_unknown_options"):
        try:
            _, rest, _ = command.make_parser(command.context_class(command)).parse_args(rest)
        except UsageError as error:
            return f"`{command.name}`: {error.message}"
        if not hasattr(command, "commands"):
            break
        if rest and rest[0] not in command.commands:
            return f"`{command.name}` has no command {rest[0]}"
        command, rest = BECOMES.get(rest[0]) or command.commands[rest[0]], rest[1:]
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_of_welip_exists_with_its_options(page: Path) -> None:
    wrong = [(words, why) for words in commands(page, "welip") if (why := unknown(words)) is not None]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_target_of_make_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:[A-Z]+=\S+ )?make ([a-z][a-z-]*)", text))
    named |= {word for words in commands(page, "make") for word in words[:1] if "=" not in word}
    assert named <= TARGETS


def test_what_does_not_exist_is_found() -> None:
    assert unknown(["ask", "높이는?", "--collection", "ko"]) is None
    assert unknown(["ask", "--no-such"]) == "`ask`: No such option: --no-such"
    assert unknown(["dead", "bury"]) == "`dead` has no command bury"
    assert sum(len(commands(page, "welip")) for page in PAGES) > 40


def table_rows(page: Path) -> list[int]:
    """How many rows each table of a page has."""
    lines = page.read_text(encoding="utf-8").splitlines()
    text = "".join("|" if line.startswith("|") else "\n" for line in lines)
    return [len(table) for table in text.split()]


def test_both_readmes_show_the_same_commands_and_as_many_rows() -> None:
    english, korean = ROOT / "README.md", ROOT / "README.ko.md"
    assert shown(english) == shown(korean), "README.ko.md lacks a command of README.md, or has another one"
    assert table_rows(english) == table_rows(korean), "a table of README.ko.md lacks a row of README.md"
