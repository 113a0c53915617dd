"""Find near-duplicates: rows of features so similar that they show the same thing.

``find``             :func:`find_duplicates` and its result
``select``           :func:`select_duplicates`: which image of a group to keep
``dense``            compare all pairs of few rows with one matrix product per block
``large``            compare many rows in bounded memory
``candidate_pairs``  pairs of many rows whose cosine similarity exceeds a bound
``cosine_bounds``    upper bounds of cosine similarities in few dimensions
``components``       group rows that are linked by pairs
``limits``           sizes of blocks and samples

May import: ``system``, ``errors``, ``features``, ``datasets``, ``images``, ``recipe``.
"""
