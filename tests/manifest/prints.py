"""Fingerprints of secrets without their price, where something else is looked at."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def cheap() -> Iterator[None]:
    """A fingerprint takes no time in here: it is as slow as it is to keep others from guessing."""
    real = hashlib.scrypt

    def quick(*words: Any, **options: Any) -> bytes:
        return real(*words, **{**options, "n": 2})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "scrypt", quick)
        yield


@pytest.fixture
def cheap_prints() -> Iterator[None]:
    """The same for a whole test."""
    with cheap():
        yield
