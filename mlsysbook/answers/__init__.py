"""Student side: what runs in a notebook, in plain Python and in the grading box. It holds no answer.

`mode.handler` says who listens: nobody but the student (None), the box's recorder, or the build that loads the reference.
"""
