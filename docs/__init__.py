"""Pages of the documentation, and the tools that build them."""
