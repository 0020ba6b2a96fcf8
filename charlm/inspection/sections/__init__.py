"""The sections of a report: what is computed, from how much of the text, and how it is told, drawn and tabulated."""
