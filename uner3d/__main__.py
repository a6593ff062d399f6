"""``python -m uner3d COMMAND ...``: the command `uner3d` where no script of that name is on the PATH."""

import sys

from uner3d.cli import main

if __name__ == "__main__":
    sys.exit(main())
