"""Searches for garbage are rare in tests; imported first, as imports alone make a million objects."""

import gc

gc.set_threshold(50_000, 10, 20)
