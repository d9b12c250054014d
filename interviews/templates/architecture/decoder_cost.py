"""From a configuration to its cost: weights of a layer, of the model, operations of a token, of a prompt with its scores."""
from mlsysim.models.language import decoder
from staffml import Misconception, Part, Template


def model(p):
    return decoder("decoder", "decoder", p.layers, p.heads * p.head_dim, p.heads, p.kv_heads, p.hidden, p.vocab, "declared", "", tied=True)


def matrices(p):
    """Weights that a token of a layer is multiplied by."""
    m = model(p)
    return m.attention_weights + m.feed_forward(m.hidden)


def scores(p):
    """Operations of one token's scores and weighted sums, all layers together, with as many tokens before it as the prompt has."""
    return model(p).flop_per_token(p.seen - 1) - 2 * model(p).matrix_params


template = Template(
    title="What a configuration costs", area="architecture", topic="transformer-systems-cost", track="cloud", level="L2", chapter="V1-06",
    minutes=10,
    space={("heads", "kv_heads", "hidden"): ((24, 8, 8192), (32, 8, 14336), (40, 8, 17408), (48, 8, 16384), (64, 8, 28672)),
           "layers": (24, 28, 32, 36, 40, 48, 64, 80), "head_dim": (128,), "vocab": (32000, 50304, 64000, 128256, 151936),
           "seen": (4096, 8192, 16384, 32768, 65536, 131072)},
    derive={"width": lambda p: p.heads * p.head_dim},
    prompt="""
        A decoder has {layers} layers of width {width}, with {heads} query heads and {kv_heads} key-value heads of dimension {head_dim}, and
        a gated feed-forward part, which is three matrices of {width} by {hidden}. Its vocabulary has {vocab} tokens; one matrix serves as
        embedding and as head. Leave out norms.""",
    parts=(
        Part("layer", "How many weights has a layer?", "", matrices, ("1000000", "10000000000"), (
            Misconception("a head for each query", lambda p: matrices(p.but(kv_heads=p.heads)), 0.5,
                          "Keys and values have fewer heads, and so have their matrices."),
            Misconception("two matrices", lambda p: matrices(p) - p.width * p.hidden, 0.5, "A gated feed-forward part has a third matrix."),
            Misconception("attention only", lambda p: model(p).attention_weights, 0.0, "The feed-forward part has most of the weights.")),
             tol=0.01),
        Part("whole", "How many has the model?", "", lambda p, layer: p.layers * layer + p.vocab * p.width, ("100000000", "1e12"), (
            Misconception("no vocabulary", lambda p, layer: p.layers * layer, 0.5, "Every token of the vocabulary has a vector."),
            Misconception("head apart", lambda p, layer: p.layers * layer + 2 * p.vocab * p.width, 0.5, "The matrix is shared.")),
             tol=0.005),
        Part("token", "How many operations do the products with weights take for one token, head included?", "FLOP",
             lambda p, whole: 2 * whole, ("100 MFLOP", "10 TFLOP"), (
            Misconception("MAC as FLOP", lambda p, whole: whole, 0.5, "A multiply-add is two operations."),
            Misconception("training", lambda p, whole: 2 * (2 + 1) * whole, 0.25, "Six a weight is training, backward pass included."),
        )),
        Part("scores", "And attention scores and weighted sums, for one token that attends to {seen} tokens?", "FLOP", scores,
             ("10 MFLOP", "10 TFLOP"), (
            Misconception("scores only", lambda p: scores(p) / 2, 0.5, "The weighted sum of the values costs as much as the scores."),
            Misconception("KV heads", lambda p: scores(p) * p.kv_heads / p.heads, 0.25,
                          "Shared keys are fewer to store, but every query head computes scores of its own."),
            Misconception("one layer", lambda p: scores(p) / p.layers, 0.0, "Every layer attends."))),
    ))
