"""Options of the whole test run."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.benchmarks.plugin"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out unless markers or single tests are asked for."""
    if config.option.markexpr or any("::" in argument for argument in config.invocation_params.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
