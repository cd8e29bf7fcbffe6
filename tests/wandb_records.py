"""Reads the files of Weights & Biases, for which its package has no reader."""

import json
import struct
import time


def records_of_wandb(file):
    """What wandb has written: kind and content of each record."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = file.read_bytes(), 7, b""  # the file begins with a mark
    while at + 7 <= len(content):
        left = 32_768 - at % 32_768  # to the end of a block, where no head of a piece begins
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", content, at)
        whole, at = whole + content[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4) and at <= len(content):  # the last piece of a record, or its only one
            record, whole = Record.FromString(whole), b""
            yield record.WhichOneof("record_type"), getattr(record, record.WhichOneof("record_type"))


def all_of_wandb(file):
    """The same, once the process of wandb has written the last record."""
    for _ in range(200):
        records = list(records_of_wandb(file))
        if records and records[-1][0] == "exit":
            return records
        time.sleep(0.05)
    raise AssertionError(f"{file} does not end")


def logged(items):
    """Values by the name of a figure or a setting."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
