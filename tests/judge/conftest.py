"""Every sandbox that works on this machine; a test that uses it runs once for each of them."""

from __future__ import annotations

import sys

import pytest

from cogumi_utils.judge import _backends
from cogumi_utils.judge.sandbox import why_unusable

HERE = [name for name in _backends.BACKENDS if (name == "sandbox-exec") == (sys.platform == "darwin")]


@pytest.fixture(scope="session", params=HERE)
def sandbox_name(request) -> str:
    if reason := why_unusable(request.param):
        pytest.skip(f"{request.param}: {reason}")
    return request.param
