"""What `pulumi up` runs: settings in, hosts made, host records out."""

from __future__ import annotations

import sys
from pathlib import Path

import pulumi

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hostwright.errors import HostwrightError
from infra import program

try:
    program.run()
except HostwrightError as error:
    # A message and not a traceback: the operator's settings are at fault, or the machine.
    raise pulumi.RunError(str(error).removeprefix("error: ")) from None
