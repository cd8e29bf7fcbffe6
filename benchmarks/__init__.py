"""Benchmarks of understudy; each file says what it measures."""

import understudy  # noqa: F401 - before torch, so that torch's threads wait passively
