"""The book: what its chapters compute with, and what turns them into a site."""
