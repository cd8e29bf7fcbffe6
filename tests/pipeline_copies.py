"""Pipelines that are read from their files once: few of the tests that load one are about loading."""

import copy
from pathlib import Path


class Copies:
    """Loads as ``load_complete`` does, but each folder once as long as its files stay; callers get copies."""

    def __init__(self, load):
        self._load, self._loaded = load, {}

    def __call__(self, pipeline_class, part, name, options):
        if not Path(name).is_dir():
            return self._load(pipeline_class, part, name, options)
        files = [(path, path.stat()) for path in sorted(Path(name).rglob("*")) if path.is_file()]
        state = tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in files)
        key = (pipeline_class, part, name, state, repr(sorted(options.items())))
        if key not in self._loaded:
            self._loaded[key] = self._load(pipeline_class, part, name, options)
        return copy.deepcopy(self._loaded[key])
