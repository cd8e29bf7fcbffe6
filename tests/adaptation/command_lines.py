"""Runs several command lines in one process, for a launcher: importing the libraries takes longest."""

import json
import sys

from understudy import cli

if __name__ == "__main__":
    for words in json.loads(sys.argv[1]):
        try:
            cli.main(words)
        except SystemExit as exit_:
            print(f"exit {exit_.code}", flush=True)  # noqa: T201
