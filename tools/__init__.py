"""Programs for maintainers, not installed: kept results, the tables of RESULTS.md, campaigns."""
