"""``python -m throughtime``."""

import sys

from throughtime.cli import main

sys.exit(main())
