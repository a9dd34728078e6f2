"""What benchmarks print for programs and people alike: one JSON object a line.

Belongs here: printing. Does not belong here: measuring.
"""

from __future__ import annotations

import json
import sys


def say(**values: object) -> dict[str, object]:
    """Print one line, floats to three digits, and return it as printed."""
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}
    sys.stdout.write(json.dumps(rounded) + "\n")
    sys.stdout.flush()
    return rounded
