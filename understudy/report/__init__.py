"""What a run says: one HTML page, cards and a table for the terminal; and the page and the table of a study, and of two runs."""

from understudy.report.card import adapter_card, classifier_card, dataset_card
from understudy.report.compared import compared_tables, write_comparison
from understudy.report.html import write_report
from understudy.report.study_page import study_table, write_study_page
from understudy.report.terminal import gap_table, membership_table, shift_table, summary_table

__all__ = [
    "adapter_card",
    "classifier_card",
    "compared_tables",
    "dataset_card",
    "gap_table",
    "membership_table",
    "shift_table",
    "study_table",
    "summary_table",
    "write_comparison",
    "write_report",
    "write_study_page",
]
