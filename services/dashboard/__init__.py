"""The dashboard: runs, rounds, workers and comparisons in a browser, and the page on which people label."""
