"""Templates of reports: each stands beside the stage that fills it, and extends `base.html.j2`."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def template(folder: Path, name: str) -> "Template":
    """The template of this name in a folder. What is put into it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = FileSystemLoader([folder, Path(__file__).parent])
    made = Environment(loader=found, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.get_template(name)
