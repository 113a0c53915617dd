"""Rows on disk: a cache folder read, written, checked, compacted, cleared."""
