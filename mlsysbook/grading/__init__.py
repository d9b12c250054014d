"""The judge, the gradebook and the reports."""
