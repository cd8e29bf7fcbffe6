"""Labelled image sets: where they come from, how they are split, how they are stored."""

from understudy.data.abstract_source import SOURCES
from understudy.data.export import EXPORTS, export
from understudy.data.labelled_set import LabelledSet, Split, decode, encode, pixel_hash
from understudy.data.leaks import Fingerprints, near_duplicates
from understudy.data.sources import Splits, load_splits
from understudy.data.splits import stratified_split, take_shots

__all__ = [
    "EXPORTS",
    "SOURCES",
    "Fingerprints",
    "LabelledSet",
    "Split",
    "Splits",
    "decode",
    "encode",
    "export",
    "load_splits",
    "near_duplicates",
    "pixel_hash",
    "stratified_split",
    "take_shots",
]
