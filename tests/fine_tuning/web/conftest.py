"""A page with a model that needs no torch, for the tests over plain HTTP."""

from collections.abc import Iterator

import pytest
from page_helpers import FakeModel, page


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def address(model: FakeModel) -> Iterator[str]:
    with page(model) as server:
        yield server.address
