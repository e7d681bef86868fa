"""`python -m visioncache` is `visioncache`."""

import sys

from visioncache.cli import main

sys.exit(main())
