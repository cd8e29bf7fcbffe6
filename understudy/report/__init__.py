"""What a run says: one HTML page, a dataset card and a table for the terminal; and the page and the table of a study."""

from understudy.report.card import dataset_card
from understudy.report.html import write_report
from understudy.report.study_page import study_table, write_study_page
from understudy.report.terminal import gap_table, summary_table

__all__ = ["dataset_card", "gap_table", "study_table", "summary_table", "write_report", "write_study_page"]
