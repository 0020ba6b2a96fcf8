"""Figures of a report: one module for each subject, drawn by matplotlib, without pyplot and its global state.

Nothing outside this folder imports matplotlib. Nothing here computes: a figure draws the plain data of a report.
"""
