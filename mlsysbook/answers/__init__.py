"""What a student's notebook calls: check, answer, predict, reveal, variant."""
