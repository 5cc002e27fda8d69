"""Print the command of README.rst under a heading: the first literal block there, which is one line."""

import re
import sys
from pathlib import Path


def command(readme: str, heading: str) -> str:
    """The one line of the first literal block under ``heading``."""
    section = re.split(rf"^{re.escape(heading)}\n-+\n", readme, flags=re.MULTILINE)[1]
    section = re.split(r"^[^\n]+\n-+\n", section, flags=re.MULTILINE)[0]
    block = re.search(r"::\n\n((?:    [^\n]*\n)+)", section)
    if block is None:
        sys.exit(f"no literal block under {heading!r}")
    lines = [line.strip() for line in block[1].splitlines()]
    if len(lines) != 1:
        sys.exit(f"the block under {heading!r} is not one line: {lines}")
    return lines[0]


if __name__ == "__main__":
    print(command(Path("README.rst").read_text(), sys.argv[1]))
