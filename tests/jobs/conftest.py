"""What the tests of the jobs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from raysyn.report import figures


@pytest.fixture(autouse=True, scope="module")
def no_charts() -> Iterator[None]:
    """In this process nobody looks at them, as tests of the report and of PIGAN do; they take seconds of some runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_uri", lambda figure: "data:image/svg+xml;base64,")
        yield
