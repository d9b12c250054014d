"""Encoders of text: every token sees all others, and none is kept for later."""

from .transformer import Transformer


def bert(name, title, layers, width, heads, source, date, vocab=30_522, positions=512, types=2, pooler=True):
    return Transformer(name, title, layers, width, heads, heads, width // heads, 4 * width, vocab, source, date, causal=False,
                       gated=False, norm="layer", bias="all", positions=positions, types=types, pooler=pooler,
                       embedding_norm=True)  # fmt: skip


def all():
    paper = "Devlin et al. 2018, BERT, arXiv 1810.04805, section 3"
    yield bert("bert-base", "BERT base", 12, 768, 12, paper, "2018-10")
    yield bert("bert-large", "BERT large", 24, 1024, 16, paper, "2018-10")
    yield bert("distilbert", "DistilBERT", 6, 768, 12, "Sanh et al. 2019, DistilBERT, arXiv 1910.01108, section 3", "2019-10",
               types=0, pooler=False)  # fmt: skip
    paper = "Liu et al. 2019, RoBERTa, arXiv 1907.11692, table 9; two of the 514 position vectors serve padding"
    for name, *shape in (("base", 12, 768, 12), ("large", 24, 1024, 16)):
        yield bert(f"roberta-{name}", f"RoBERTa {name}", *shape, paper, "2019-07", 50_265, 514, 1)
