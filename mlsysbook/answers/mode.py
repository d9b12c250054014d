"""Who receives what check, answer and predict have to say. None: the student at the keyboard."""

handler = None
