"""What a run may use of the machine."""

from __future__ import annotations

from understudy.core.config import Section, setting


class ComputeSettings(Section):
    """What a run may use of the machine; none of it decides a result."""

    threads: int | None = setting(None, ge=1, decides="nothing")
    """Threads of everything that is not trained side by side; if not set, one per core that this process may
    use."""
