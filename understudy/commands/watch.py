"""``understudy watch``: a local page that shows a run while it grows."""

from __future__ import annotations

import importlib.util
import os
import webbrowser
from contextlib import closing
from pathlib import Path

from understudy.commands import printing
from understudy.commands.watch_server import LOOPBACK, open_socket, serve
from understudy.core.errors import InputError

_PACKAGES = ("starlette", "uvicorn")


def watch(folder: Path, *, port: int | None = None, opens: bool = False) -> None:
    """Show a folder on a local page until Ctrl-C; the folder is only read.

    Args:
        folder: of a run or a study, or one that a run will make.
        port: of the page; if not given, a free one.
        opens: whether to open the page in a browser.

    Raises:
        InputError: if the extra is not installed, the folder is a file, or the port cannot be had.
    """
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise InputError(f'understudy watch needs {" and ".join(missing)}: pip install "understudy[watch]"')
    if os.path.exists(folder) and not folder.is_dir():  # Path.exists raises where it may not look
        raise InputError(
            f"{folder} is a file: give the folder of a run or a study, or one that a run will make"
        )
    with closing(open_socket(port)) as listening:
        address = f"http://{LOOPBACK}:{listening.getsockname()[1]}/"

        def started() -> None:
            printing.say(f"{folder} is shown at {address} (Ctrl-C ends this)", is_path=True)
            if opens:
                webbrowser.open(address)

        serve(folder, listening, started=started)
