"""What `s2v doctor` says about one thing that it looked at.

Belongs here: the value. Does not belong here: judging (doctor, doctor_wan), printing (cli).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        status: ok; warning: works, or works for others than you; problem: making a video will fail.
        detail: what was found.
        cure: what to do about it; empty only where all is well.

    Raises:
        ValueError: a warning or a problem without a cure.
    """

    name: str
    status: Status
    detail: str
    cure: str = ""

    def __post_init__(self) -> None:
        if self.status != "ok" and not self.cure:
            raise ValueError(f"a {self.status} needs a cure; got none for {self.name!r}: {self.detail}")
