"""A vision transformer at twice the side: tokens, the quadratic part of its work, its share, the growth of the whole."""
from mlsysim.models.encoders import bert
from staffml import Choice, Misconception, Part, Template

THIRDS = 3      # attention has four of the twelve square matrices that make a layer: Vaswani et al. 2017, section 3
HEADS = 16      # any number that divides the widths: heads share the width, so they change neither weights nor work


def work(p, tokens, kind):
    """Operations of the products with weights ("gemm"), or of the scores and weighted sums ("attention")."""
    model = bert("encoder", "encoder", p.layers, p.width, HEADS, "declared", "", pooler=False)
    one = sum(op.count * (2 * op.m * op.n * op.k if op.flop is None else op.flop) for op in model.graph().ops if op.kind == kind)
    return one * (tokens**2 if kind == "attention" else tokens)


template = Template(
    title="Twice the side, how much more work?", area="architecture", topic="attention-scaling", track="edge", level="L4",
    chapter="V1-06", minutes=15,
    space={("side", "patch"): tuple((patch * n, patch) for patch in (8, 14, 16) for n in (16, 18, 20, 22, 24, 26, 28, 32, 36, 40, 48,
           56, 64)), "width": (192, 256, 384, 512, 768, 1024), "layers": (6, 8, 12, 16, 24)},
    prompt="""
        A camera box runs a vision transformer on images of {side} by {side} pixels, cut into patches of {patch} by {patch}; each patch
        is one token, and there are no others. It has {layers} layers of width {width}. The products with weights in a layer are those
        of queries, keys, values and the output, each width by width, and two of a feed-forward part that is four times as wide.
        Every token attends to all tokens. A multiply-add is two operations.""",
    parts=(
        Part("tokens", "How many tokens is an image?", "", lambda p: (p.side / p.patch) ** 2, ("100", "10000"), (
            Misconception("one side", lambda p: p.side / p.patch, 0.25, "Patches tile both sides of the image."),
            Misconception("pixels of a patch", lambda p: p.patch**2, 0.0, "Those are the pixels of one patch."))),
        Part("scores", "How many operations take attention scores and weighted sums of values, all layers together?", "FLOP",
             lambda p, tokens: work(p, tokens, "attention"), ("1 MFLOP", "10 TFLOP"), (
            Misconception("scores only", lambda p, tokens: work(p, tokens, "attention") / 2, 0.5,
                          "The weighted sum of the values costs as much as the scores."),
            Misconception("one layer", lambda p, tokens: work(p, tokens, "attention") / p.layers, 0.25, "That is one layer."))),
        Part("share", "What share of the operations of all layers is that?", "%",
             lambda p, tokens, scores: scores / (scores + work(p, tokens, "gemm")), ("1 %", "90 %"), (
            Misconception("over the rest", lambda p, tokens, scores: scores / work(p, tokens, "gemm"), 0.5,
                          "That is the ratio to the rest; a share is of the whole."),
            Misconception("no feed-forward", lambda p, tokens, scores: scores / (scores + work(p, tokens, "gemm") / THIRDS), 0.25,
                          "The feed-forward part has two thirds of the weights."))),
        Choice("growth", "The side of the images is doubled. By which factor do the operations of all layers grow?", "",
               lambda p, share: 2**2 * (1 - share) + 2**4 * share, ("4", "16"), (
            Misconception("linear", lambda p, share: 2**2, 0.25, "So does the number of tokens; scores grow with its square."),
            Misconception("all quadratic", lambda p, share: 2**4, 0.25,
                          "Only scores and weighted sums grow like that; products with weights grow with the tokens."),
            Misconception("weighted the other way", lambda p, share: 2**2 * share + 2**4 * (1 - share), 0.25,
                          "Scores and weighted sums are the part that grows with the square of the tokens.")))))
