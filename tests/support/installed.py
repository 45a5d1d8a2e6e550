"""Marks of test files that need an optional package, without importing it while tests are collected."""

from importlib.util import find_spec

import pytest


def needs(package: str, remedy: str) -> pytest.MarkDecorator:
    """Skips where the package is not installed; importing some of them takes seconds in every worker."""
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is missing: {remedy}")
