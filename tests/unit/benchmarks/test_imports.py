"""Every benchmark can be imported, since no other test runs these commands."""

import importlib
import pkgutil

import pytest

import benchmarks


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(benchmarks.__path__)])
def test_it_can_be_imported(name):
    importlib.import_module(f"benchmarks.{name}")
