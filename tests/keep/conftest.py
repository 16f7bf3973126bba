"""Fixtures of the tests of this stage."""

from tests.support.indexers import any_indexer, fake_program, indexer

__all__ = ["any_indexer", "fake_program", "indexer"]
