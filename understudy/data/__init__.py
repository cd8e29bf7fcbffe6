"""Labelled image sets: where they come from, how they are split, how they are stored."""

from understudy.data.abstract_source import SOURCES
from understudy.data.caption_file import read_captions
from understudy.data.captions import CAPTIONS, caption_sets, captions_of
from understudy.data.copies import DISTANCE_UNIT, FALSE_ALARMS, CopyFinder, grey_thumbnails, paired_distances
from understudy.data.export import EXPORTS, export
from understudy.data.extra_tests import load_test_set
from understudy.data.labelled_set import LabelledSet, Split, decode, encode, pixel_hash
from understudy.data.leaks import Fingerprints, near_duplicates
from understudy.data.sources import Splits, load_splits
from understudy.data.splits import first_of_each_class, stratified_split, take_share, take_shots

__all__ = [
    "CAPTIONS",
    "DISTANCE_UNIT",
    "EXPORTS",
    "FALSE_ALARMS",
    "SOURCES",
    "CopyFinder",
    "Fingerprints",
    "LabelledSet",
    "Split",
    "Splits",
    "caption_sets",
    "captions_of",
    "decode",
    "encode",
    "export",
    "first_of_each_class",
    "grey_thumbnails",
    "load_splits",
    "load_test_set",
    "near_duplicates",
    "paired_distances",
    "pixel_hash",
    "read_captions",
    "stratified_split",
    "take_share",
    "take_shots",
]
