"""The sections of a page: their words, and what they show of each run. Their order is that of the page."""
