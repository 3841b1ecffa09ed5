"""Says what was built, from what, and how long it took: report.json and report.html."""
