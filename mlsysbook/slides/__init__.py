"""Decks of slides: one Markdown source a chapter, checked, filled with the chapter's own numbers and figures, and made into
Beamer PDF, reveal.js HTML and PPTX. book/slides/README.md says how a deck is written.

deck.py reads and checks a source; fill.py puts numbers and figures into it; beamer.py, html.py and pptx.py make one format each;
theme.py reads the colours of a theme; build.py makes what is out of date.
"""
