"""What the operator allows that could run code of strangers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """What requests may ask for; each is refused unless the operator allows it here and the request asks for it.

    Attributes:
        allow_pickle: weights that are there as pickles only, which can run code when they are read.
        allow_remote_code: code from a model's repository.
    """

    allow_pickle: bool = False
    allow_remote_code: bool = False
