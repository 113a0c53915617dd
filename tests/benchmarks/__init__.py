"""Every figure that the README gives, measured anew: ``python -m tests.benchmarks --help``."""
