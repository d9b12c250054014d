"""What a teacher needs beside the notebooks: syllabi, mark schemes, a bank of questions for a learning management system."""
