"""Tokenization: the round trip of any text, training against counting anew, streams, special tokens, files."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch import BPETokenizer, CharTokenizer, StreamDecoder, bits_per_byte, datasets
from tinytorch.tokenization import ByteStream, encode_word, pieces, split_special, train_indexed

MACBETH = datasets.text("macbeth")
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
TOKENIZER = BPETokenizer.train(MACBETH[:40_000], 700, special=("<|end|>", "<|end|>2"))


@given(ANY)
def test_any_text_comes_back(text):
    tokens = TOKENIZER.encode(text)
    assert TOKENIZER.decode(tokens) == text
    assert b"".join(map(TOKENIZER.bytes_of, tokens)) == text.encode()
    assert "".join(pieces(text)) == text


@given(st.text(alphabet="ab <|end>2\n_é1", max_size=40))
def test_any_text_comes_back_with_special_tokens_in_it(text):
    for special in ((), "all", ("<|end|>",)):
        assert TOKENIZER.decode(TOKENIZER.encode(text, special)) == text
    assert max(TOKENIZER.encode(text), default=0) < len(TOKENIZER) - 2


@given(ANY)
def test_a_stream_says_what_decode_says_and_never_half_a_character(text):
    stream = StreamDecoder(TOKENIZER)
    parts = [stream.push(token) for token in TOKENIZER.encode(text)]
    assert "".join(parts) == text and stream.finish() == ""


@given(st.binary(max_size=24), st.integers(1, 5))
def test_bytes_cut_anywhere_are_decoded_as_one(data, step):
    stream = ByteStream()
    assert "".join(stream.push(data[i:i + step]) for i in range(0, len(data), step)) + stream.finish() == data.decode("utf-8", "replace")


def counted_anew(words, merges):
    """BPE as the papers state it: strings of symbols, every pair counted again after each merge."""
    words, learned = {tuple((t,) for t in word): n for word, n in words.items()}, []
    number = {(t,): t for t in range(256)}
    for _ in range(merges):
        pairs = {}
        for word, n in words.items():
            for a, b in zip(word, word[1:], strict=False):
                pairs[a, b] = pairs.get((a, b), 0) + n
        if not pairs or max(pairs.values()) < 2:
            break
        best = min(pairs, key=lambda p: (-pairs[p], number[p[0]], number[p[1]]))
        learned.append((number[best[0]], number[best[1]]))
        # The symbol of a merge is what its two were, with its number, so that equal texts of different merges stay apart.
        symbol = (*best[0], *best[1], -len(learned))
        number[symbol] = 255 + len(learned)
        joined = {}
        for word, n in words.items():
            new = []
            for part in word:
                if new and new[-1] == best[0] and part == best[1]:
                    new[-1] = symbol
                else:
                    new.append(part)
            joined[tuple(new)] = joined.get(tuple(new), 0) + n
        words = joined
    return learned


@settings(max_examples=150)
@given(st.dictionaries(st.lists(st.integers(97, 100), max_size=9).map(tuple), st.integers(1, 5), max_size=12), st.integers(0, 20))
def test_the_index_learns_what_counting_anew_learns(words, merges):
    assert train_indexed(words, merges) == counted_anew(words, merges)


@given(st.text(alphabet="abc", max_size=14))
def test_encoding_a_word_repeats_its_training(word):
    ranks = TOKENIZER_ABC.ranks
    tokens = tuple(word.encode())
    for pair, rank in sorted(ranks.items(), key=lambda item: item[1]):      # merge by merge, over all ranks
        out = []
        for token in tokens:
            if out and (out[-1], token) == pair:
                out[-1] = 256 + rank
            else:
                out.append(token)
        tokens = tuple(out)
    assert encode_word(tuple(word.encode()), ranks) == tokens


TOKENIZER_ABC = BPETokenizer(train_indexed({tuple(b"abcabcab"): 3, tuple(b"aabbcc"): 2, tuple(b"bcbcaab"): 2}, 12))


def test_training_is_the_same_everywhere_and_ends_by_itself():
    first = BPETokenizer.train(MACBETH[:20_000], 400)
    assert first.merges == BPETokenizer.train(MACBETH[:20_000], 400).merges and len(first) == 400
    assert len(BPETokenizer.train("abcdefg", 400)) == 256
    assert len(BPETokenizer.train("", 300)) == 256


def test_a_page_of_letters_without_a_space_is_cut():
    assert max(map(len, pieces("a" * 1_000_000))) == 40
    assert TOKENIZER.decode(TOKENIZER.encode("x" * 100_000)) == "x" * 100_000


def test_what_a_user_types_is_text():
    end, longer = len(TOKENIZER) - 2, len(TOKENIZER) - 1
    typed = "a<|end|>2b<|end|>"
    assert end not in TOKENIZER.encode(typed) and longer not in TOKENIZER.encode(typed)
    assert TOKENIZER.encode(typed, "all").count(end) == 1 and TOKENIZER.encode(typed, "all").count(longer) == 1
    assert TOKENIZER.encode(typed, ("<|end|>",)).count(end) == 2
    assert split_special(typed, ()) == [(False, typed)]


def test_a_file_keeps_everything(tmp_path):
    path = tmp_path / "vocabulary.json"
    TOKENIZER.save(path)
    again = BPETokenizer.load(path)
    assert again.merges == TOKENIZER.merges and again.special == TOKENIZER.special
    assert again.encode(MACBETH[:5000] + "<|end|>", "all") == TOKENIZER.encode(MACBETH[:5000] + "<|end|>", "all")
    assert os.listdir(tmp_path) == ["vocabulary.json"] and path.stat().st_mode & 0o777 == 0o644


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "vocabulary.json"
    TOKENIZER.save(path)
    before = path.read_bytes()
    monkeypatch.setattr(json, "dump", lambda *a, **k: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        TOKENIZER_ABC.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["vocabulary.json"]


@pytest.mark.parametrize("content, message", [
    ("{", "vocabulary.json: Expecting property name"),
    ("[]", "vocabulary.json: not a vocabulary: format is 'list'"),
    ('{"format": "tinytorch-bpe-1", "merges": [[97, 98], [258, 1]], "special": []}', r"vocabulary.json: merge 1 is \[258, 1\], wants two tokens from 0 to 256"),
    ('{"format": "tinytorch-bpe-1", "merges": [[1, 2], [1, 2]], "special": []}', r"merge 1 joins \[1, 2\], which an earlier one does already"),
    ('{"format": "tinytorch-bpe-1", "merges": [], "special": ["a", "a"]}', "special token 'a' is empty, no text, or there twice"),
])
def test_a_damaged_file_is_refused(tmp_path, content, message):
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        BPETokenizer.load(path)


@pytest.mark.parametrize("call, error, message", [
    (lambda: CharTokenizer("abc").encode("abß"), ValueError, "'ß' at index 2 is not in the vocabulary of 3 characters"),
    (lambda: CharTokenizer("abc").decode([3]), ValueError, "token 3 is not in the vocabulary of 3 characters"),
    (lambda: TOKENIZER.encode("a\ud800b"), ValueError, "U\\+D800 at index 0 .* is half of a surrogate pair and no character"),
    (lambda: TOKENIZER.encode(b"abc"), TypeError, "wants text, got bytes"),
    (lambda: TOKENIZER.encode("a", ("<|stop|>",)), ValueError, "'<|stop|>' is no special token; there are '<|end|>', '<|end|>2'".replace("|", r"\|")),
    (lambda: TOKENIZER.decode([700]), ValueError, "token 700 is not in the vocabulary of 700"),
    (lambda: TOKENIZER.decode([-1]), ValueError, "token -1 is not in the vocabulary of 700"),
    (lambda: BPETokenizer.train("a", 256, ("<|end|>",)), ValueError, "a vocabulary of 256 does not hold 256 bytes and 1 special tokens"),
    (lambda: bits_per_byte(1.0, 1, 0), ValueError, "one byte or more, got 0"),
])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_bits_of_a_model_that_knows_nothing():
    import math

    assert bits_per_byte(math.log(256), 100, 100) == pytest.approx(8)
    assert bits_per_byte(math.log(1024), 40, 100) == pytest.approx(4)
