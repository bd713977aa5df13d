"""Tests of metrics download nothing."""

import pytest


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("LDDM_OFFLINE", "1")
