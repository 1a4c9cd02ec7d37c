"""Style sheets and scripts of the pages, as separate files."""

from pathlib import Path


def asset(name: str) -> str:
    """The text of a file in this folder."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
