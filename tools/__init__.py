"""Programs for those who work on mdcache: generated files, and what a request passes."""
