"""StaffML: drill templates, variants, mock interview, review queue."""
