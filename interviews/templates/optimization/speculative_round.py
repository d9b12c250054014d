"""Speculative decoding: tokens of a round, time of a token, speed-up. Each takes the one before."""
from mlsysim import scaling
from staffml import Misconception, Part, Template


def tokens(p):
    return scaling.expected_tokens(p.accepted, p.draft)


def each(p, tokens):
    return (p.draft * p.small + p.large) / tokens


template = Template(
    title="A round of speculative decoding", area="optimization", topic="speculative-decoding", track="cloud", level="L4",
    chapter="V2-10", minutes=12,
    space={"accepted": (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9), "draft": (3, 4, 5, 6, 7, 8), "large": (0.02, 0.024, 0.03, 0.04, 0.05, 0.06),
           "small": (0.002, 0.0025, 0.003, 0.004, 0.005)},
    prompt="""
        A small model drafts {draft} tokens, one after another, in {small:ms} each. The large model then checks all of them in one pass;
        memory bandwidth limits it, so that this pass takes {large:ms}, as long as one for a single token. Each drafted token is right
        with probability {accepted:%}, whatever the others are. The first wrong one ends the round, and the large model puts its own
        token in the place; when all are right, it adds one more.""",
    parts=(
        Part("tokens", "How many tokens does a round put out on average?", "", tokens, ("1", "10"), (
            Misconception("share of the draft", lambda p: p.accepted * p.draft, 0.25,
                          "A wrong token voids those after it, and the large model always adds one."),
            Misconception("endless draft", lambda p: 1 / (1 - p.accepted), 0.5, "That is a draft without end; this one stops."),
            Misconception("no own token", lambda p: tokens(p) - 1, 0.5, "The large model's pass gives a token of its own in any case."))),
        Part("each", "How long does a token take on average?", "s", each, ("1 ms", "100 ms"), (
            Misconception("free draft", lambda p, tokens: p.large / tokens, 0.5, "Drafting comes before the check and takes time too."),
            Misconception("all right", lambda p: each(p, p.draft + 1), 0.25, "Not every drafted token is accepted."),
            Misconception("in parallel", lambda p, tokens: (p.small + p.large) / tokens, 0.25,
                          "Each drafted token needs a pass of the small model, after the one before."))),
        Part("speedup", "How many times faster is that than the large model alone?", "", lambda p, each: p.large / each, ("0.3", "8"), (
            Misconception("tokens a round", lambda p, tokens: tokens, 0.25, "A round lasts longer than one pass of the large model."),
            Misconception("speed of the draft", lambda p: p.large / p.small, 0.0, "That is the small model, whose tokens nobody checks."),
        ))))
