"""Style sheets and scripts of the pages, each in a file of its own kind."""

from pathlib import Path


def asset(name: str) -> str:
    """The text of one of the files beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
