"""Batch jobs: many images → shards of rows in a folder or an object store, resumed after any fault."""
