"""The real chain at smoke scale, run once through ./run_all.sh in a copy of this checkout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from checkout_copy import Copy, make_copy


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the checkout in which nothing has run."""
    return make_copy(tmp_path_factory.mktemp("copy"))


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy in which `./run_all.sh smoke` has run; shared, so no test changes it."""
    made = make_copy(tmp_path_factory.mktemp("chain"))
    done = made.run_all("smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    return replace(made, said=done.stdout)
