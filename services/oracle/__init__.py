"""Oracle: asks the query about each selected region and records the answers with their cost."""
