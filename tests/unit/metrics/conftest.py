"""Tests of metrics do not download anything."""

import pytest


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("LDDM_OFFLINE", "1")
