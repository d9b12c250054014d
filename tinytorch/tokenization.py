# Exported from modules/tinytorch/10_tokenization by `mlsys build`; edit the module's source, not this file.

"""Tokenization: text to numbers and back, without loss.

    CharTokenizer(text)                     a number for each character of a text
    BPETokenizer.train(text, size)          byte-level BPE: any Unicode text, a vocabulary of that size
    StreamDecoder(tokenizer)                text out of tokens that arrive one by one
    bits_per_byte(loss, tokens, bytes)      the loss of a model, whatever its vocabulary

decode(encode(text)) == text for every text that UTF-8 can hold.

Errors, each one line: ValueError (a character or token that is not known, text with a lone surrogate, a special token
where none is allowed, a file that is no vocabulary), TypeError (what is no text).
"""

import codecs
import heapq
import json
import math
import os
import re
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

BYTES = 256


class CharTokenizer:
    """A number for each different character of a text, in the order of code points.

    Raises ValueError, with the character and its index, or with the token, for what has no counterpart.
    """

    def __init__(self, text):
        self.characters = sorted(set(text))
        self.numbers = {character: number for number, character in enumerate(self.characters)}

    def __len__(self):
        """The size of the vocabulary."""
        return len(self.characters)

    def encode(self, text):
        """Text -> list of ints."""
        try:
            return [self.numbers[character] for character in text]
        except KeyError:
            index = next(i for i, character in enumerate(text) if character not in self.numbers)
            raise ValueError(f"{text[index]!r} at index {index} is not in the vocabulary of {len(self)} characters") from None

    def decode(self, tokens):
        """Ints -> text."""
        for token in tokens:
            if not 0 <= token < len(self):
                raise ValueError(f"token {token} is not in the vocabulary of {len(self)} characters")
        return "".join(self.characters[token] for token in tokens)


class ByteStream:
    """UTF-8 that arrives in parts, cut anywhere."""

    def __init__(self):
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, data):
        """The next bytes -> the text that is complete by now and was not given before."""
        return self.decoder.decode(data)

    def finish(self):
        """The end of the stream -> what was held back, replaced by U+FFFD."""
        rest = self.decoder.decode(b"", final=True)
        self.decoder.reset()
        return rest


def count_pairs(words):
    """{word: count}, words being tuples of ints -> {pair: how often it occurs}, overlapping ones included."""
    pairs = Counter()
    for word, count in words.items():
        for pair in zip(word, word[1:], strict=False):
            pairs[pair] += count
    return dict(pairs)


def join_pair(word, pair, token):
    """A word, a tuple of ints, with each occurrence of a pair, from left to right, replaced by one token -> tuple."""
    joined, i = [], 0
    while i < len(word):
        if word[i:i + 2] == pair:
            joined.append(token)
            i += 2
        else:
            joined.append(word[i])
            i += 1
    return tuple(joined)


def train_indexed(words, merges):
    """The list of pairs that BPE joins, in order; the k-th becomes token 256 + k. {word: count} stays as it is.

    Each merge costs what it changes: the words that hold the pair. Stops early when no pair occurs twice.
    """
    held, counts = list(words), list(words.values())
    pairs, where = Counter(), defaultdict(set)
    for i, word in enumerate(held):
        for pair in zip(word, word[1:], strict=False):
            pairs[pair] += counts[i]
            where[pair].add(i)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    learned = []
    while len(learned) < merges and heap:
        count, best = heapq.heappop(heap)
        if pairs.get(best) != -count:
            continue
        if count > -2:
            break
        changed = set()
        for i in where.pop(best):
            old = held[i]
            held[i] = new = join_pair(old, best, BYTES + len(learned))
            gone, come = set(zip(old, old[1:], strict=False)), set(zip(new, new[1:], strict=False))
            for word, sign in ((old, -1), (new, 1)):
                for pair in zip(word, word[1:], strict=False):
                    pairs[pair] += sign * counts[i]
            for pair in gone - come - {best}:
                where[pair].discard(i)
            for pair in come:
                where[pair].add(i)
            changed |= gone | come
        for pair in changed:
            if pairs[pair] > 0:
                heapq.heappush(heap, (-pairs[pair], pair))
            else:
                del pairs[pair]
        learned.append(best)
    return learned


PIECES = ""
PIECES = r" ?[^\W\d_]{1,40}| ?\d{1,3}| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s"


def pieces(text):
    """Cut text into words, numbers, marks and spaces; joined, they are the text."""
    return re.findall(PIECES, text)


def encode_word(word, ranks):
    """A tuple of bytes as ints, and {pair: rank} -> tuple of tokens, joined in the order of ranks."""
    while len(word) > 1:
        best = min(zip(word, word[1:], strict=False), key=lambda pair: ranks.get(pair, math.inf))
        if best not in ranks:
            break
        word = join_pair(word, best, BYTES + ranks[best])
    return word


def split_special(text, allowed):
    """Text and the special tokens that may stand in it, an iterable of texts -> [(is_special, part)], joined the text."""
    names = sorted(allowed, key=len, reverse=True)
    if not names:
        return [(False, text)] if text else []
    parts = re.split("(" + "|".join(map(re.escape, names)) + ")", text)
    return [(k % 2 == 1, part) for k, part in enumerate(parts) if part]


FORMAT = "tinytorch-bpe-1"


def read_vocabulary(document):
    """The merges, tuples, and special tokens of a document {"format", "merges", "special"} -> two lists.

    Raises ValueError that names what is wrong: the format, the index of a merge, a special token.
    """
    found = document.get("format") if isinstance(document, dict) else type(document).__name__
    if found != FORMAT:
        raise ValueError(f"not a vocabulary: format is {found!r}, wants {FORMAT!r}")
    merges, special = document.get("merges"), document.get("special")
    if not isinstance(merges, list) or not isinstance(special, list):
        raise ValueError("not a vocabulary: merges and special are to be lists")
    seen = set()
    for k, pair in enumerate(merges):
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(type(t) is int and 0 <= t < BYTES + k for t in pair):
            raise ValueError(f"merge {k} is {pair!r}, wants two tokens from 0 to {BYTES + k - 1}")
        if tuple(pair) in seen:
            raise ValueError(f"merge {k} joins {pair!r}, which an earlier one does already")
        seen.add(tuple(pair))
    for k, name in enumerate(special):
        if not isinstance(name, str) or not name or name in special[:k]:
            raise ValueError(f"special token {name!r} is empty, no text, or there twice")
    return [tuple(pair) for pair in merges], special


class BPETokenizer:
    """Byte-level BPE: 256 bytes, then one token for each merge, then special tokens.

    merges: list of pairs in the order of training; special: texts. len() is the size of the vocabulary.
    """

    def __init__(self, merges, special=()):
        self.merges, self.special = read_vocabulary({"format": FORMAT, "merges": list(merges), "special": list(special)})
        self.ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self.table = [bytes([i]) for i in range(BYTES)]
        for a, b in self.merges:
            self.table.append(self.table[a] + self.table[b])
        self.special_tokens = {name: len(self.table) + k for k, name in enumerate(self.special)}
        self.remembered = {}

    @classmethod
    def train(cls, text, size, special=()):
        """A tokenizer of at most `size` tokens, trained on text. Raises ValueError for a size below 256 and the special ones."""
        merges = size - BYTES - len(special)
        if merges < 0:
            raise ValueError(f"a vocabulary of {size} does not hold {BYTES} bytes and {len(special)} special tokens")
        words = Counter(tuple(utf8(piece)) for piece in pieces(text))
        return cls(train_indexed(words, merges), special)

    def __len__(self):
        return len(self.table) + len(self.special)

    def encode(self, text, special=()):
        """Text -> list of ints. special: the special tokens that may stand in it, or "all"; others are read as text."""
        if not isinstance(text, str):
            raise TypeError(f"wants text, got {type(text).__name__}")
        allowed = self.special if special == "all" else special
        unknown = [name for name in allowed if name not in self.special_tokens]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no special token; there are {', '.join(map(repr, self.special)) or 'none'}")
        tokens = []
        for is_special, part in split_special(text, allowed):
            if is_special:
                tokens.append(self.special_tokens[part])
            else:
                for piece in pieces(part):
                    tokens.extend(self._piece(piece))
        return tokens

    def _piece(self, piece):
        tokens = self.remembered.get(piece)
        if tokens is None:
            tokens = encode_word(tuple(utf8(piece)), self.ranks)
            if len(self.remembered) < 100_000:
                self.remembered[piece] = tokens
        return tokens

    def bytes_of(self, token):
        """The bytes of one token; for a special one, those of its text. Raises ValueError for a number beyond the vocabulary."""
        if not 0 <= token < len(self):
            raise ValueError(f"token {token} is not in the vocabulary of {len(self)}")
        return self.table[token] if token < len(self.table) else self.special[token - len(self.table)].encode()

    def decode(self, tokens):
        """Ints -> text. Bytes that are no UTF-8, as models emit them, become U+FFFD."""
        return b"".join(map(self.bytes_of, tokens)).decode("utf-8", "replace")

    def save(self, path):
        """Write a JSON file, whole or not at all."""
        path = Path(path)
        document = {"format": FORMAT, "merges": self.merges, "special": self.special}
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(document, file, ensure_ascii=False)
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise

    @classmethod
    def load(cls, path):
        """Read what save wrote. Raises ValueError, with the path, for a file that is no vocabulary."""
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            merges, special = read_vocabulary(document)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return cls(merges, special)


def utf8(text):
    """The bytes of a text. Raises ValueError for a lone surrogate, with its index: no UTF-8 holds one."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"U+{ord(text[error.start]):04X} at index {error.start} of {text[:error.start + 5]!r} is half of a "
                         "surrogate pair and no character") from None


class StreamDecoder:
    """Text out of tokens that arrive one by one: push(token) gives what is complete, finish() the rest."""

    def __init__(self, tokenizer):
        self.tokenizer, self.stream = tokenizer, ByteStream()

    def push(self, token):
        return self.stream.push(self.tokenizer.bytes_of(token))

    def finish(self):
        return self.stream.finish()


def bits_per_byte(loss, tokens, size):
    """The mean loss of a token in nats, the number of tokens and the size of their text in bytes -> bits per byte.

    Raises ValueError for a text of no bytes.
    """
    if size < 1:
        raise ValueError(f"bits per byte wants a text of one byte or more, got {size}")
    return loss * tokens / (math.log(2) * size)
