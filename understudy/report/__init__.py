"""What a run says: one HTML page, a dataset card and a table for the terminal."""

from understudy.report.card import dataset_card
from understudy.report.html import write_report
from understudy.report.terminal import summary_table

__all__ = ["dataset_card", "summary_table", "write_report"]
