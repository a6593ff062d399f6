"""Fixtures for the tests of the ops."""

import pytest

from uner3d import ops


@pytest.fixture(params=ops.available_isas())
def isa(request):
    """Runs a test in every instruction set that this processor has."""
    before = ops.get_isa()
    ops.set_isa(request.param)
    yield request.param
    ops.set_isa(before)
