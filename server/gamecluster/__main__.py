"""``python -m gamecluster``: the same as the command ``gamecluster``."""

import sys

from .cli import main

sys.exit(main())
