"""``python -m flows`` is the ``flows`` command."""

import sys

from flows.cli import main

sys.exit(main())
