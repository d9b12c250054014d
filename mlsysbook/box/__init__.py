"""The sandbox that student code runs in."""
