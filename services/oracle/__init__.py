"""Oracle: asks the question about each selected region and records the answers with their cost."""
