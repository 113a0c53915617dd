"""Benchmarks by name, each in a fresh process and against its peers: ``python -m tests.benchmarks --list``."""
