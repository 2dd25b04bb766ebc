"""The browser that the pages are read in."""

from tests.support.chromium import chromium

__all__ = ["chromium"]
