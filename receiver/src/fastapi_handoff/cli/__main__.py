"""`python -m fastapi_handoff.cli`, for where the console script is not on the path."""

import sys

from fastapi_handoff.cli import main

sys.exit(main())
