"""Which version of WeLIP this is: pyproject.toml says it once, and the installed package carries it."""

from importlib import metadata


def version() -> str:
    """Such as `0.1.0`; `unknown` where the source runs without being installed."""
    try:
        return metadata.version("welip")
    except metadata.PackageNotFoundError:
        return "unknown"
