"""``python -m throughtime``, and the command ``throughtime``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line. Ctrl-C while it is being imported ends in one line as well."""
    try:
        from throughtime.cli import main as command
    except KeyboardInterrupt:
        sys.stderr.write("throughtime: interrupted\n")
        return 130
    return command()


if __name__ == "__main__":
    sys.exit(main())
