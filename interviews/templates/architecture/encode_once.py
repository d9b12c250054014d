"""Dictation on a phone: the encoder runs once, the decoder for every word; the same parameters in a decoder alone."""
from mlsysim import bounds, devices, llm
from staffml import Choice, Misconception, Part, Template


def pass_over(p, params):
    """Seconds for all frames of the recording through `params` parameters."""
    return bounds.roofline(2 * params * p.frames / p.reached, 0, p.phone, precision="int8").seconds


def token(p, params):
    return llm.decode_seconds(llm.weight_bytes(params, bytes_per=p.bytes_per), 0, p.bandwidth)


def alone(p):
    both = p.encoder + p.decoder
    return pass_over(p, both) + p.tokens * token(p, both)


template = Template(
    title="Encode once, decode often", area="architecture", topic="encoder-decoder-tradeoffs", track="mobile", level="L3", chapter="V1-06",
    minutes=10, requires=("compute/roofline",),
    space={("encoder", "decoder"): ((40e6, 50e6), (90e6, 150e6), (300e6, 450e6), (600e6, 170e6), (630e6, 900e6), (800e6, 250e6)),
           "frames": (500, 750, 1500, 3000), "tokens": (40, 60, 80, 120, 200, 300), "reached": (0.05, 0.1, 0.2), "bytes_per": (1,),
           "phone": ("iphone-15-pro", "snapdragon-8-gen-3", "m2", "m4")},
    derive={"title": lambda p: devices.device(p.phone).title, "peak": lambda p: devices.device(p.phone).rate("int8"),
            "bandwidth": lambda p: devices.device(p.phone).bandwidth.value},
    prompt="""
        A recording is {frames} frames long, and its text {tokens} tokens. On the {title} ({phone}), an encoder of {encoder:million}
        parameters works on all frames at once, limited by arithmetic, with one multiply-add for each parameter and frame at {reached:%}
        of {peak:TOP/s}. A decoder of {decoder:million} parameters then puts out the text token by token, limited by reading its weights
        of {bytes_per:B} each at {bandwidth:GB/s}. Leave out attention scores and caches.""",
    parts=(
        Part("encode", "How long does the encoder take?", "s", lambda p: pass_over(p, p.encoder), ("500 µs", "1 min"), (
            Misconception("at the peak", lambda p: pass_over(p, p.encoder) * p.reached, 0.25, "It does not reach its peak."),
            Misconception("MAC as OP", lambda p: pass_over(p, p.encoder) / 2, 0.5, "A multiply-add is two operations."),
            Misconception("decoder too", lambda p: pass_over(p, p.encoder + p.decoder), 0.25, "Frames go through the encoder alone."))),
        Part("token", "How long does a token of text take?", "s", lambda p: token(p, p.decoder), ("100 µs", "1 s"), (
            Misconception("encoder too", lambda p: token(p, p.encoder + p.decoder), 0.25,
                          "The encoder has done its work; a token reads the weights of the decoder alone."),
            Misconception("bits a second", lambda p: 8 * token(p, p.decoder), 0.25, "Weights and bandwidth are both in bytes."))),
        Part("whole", "How long does the text take, from the end of the recording?", "s",
             lambda p, encode, token: encode + p.tokens * token, ("5 ms", "10 min"), (
            Misconception("encoded again", lambda p, encode, token: p.tokens * (encode + token), 0.0,
                          "What the encoder puts out is kept and serves every token."),
            Misconception("one token", lambda p, encode, token: encode + token, 0.25, "The text has many tokens."))),
        Choice("more", "A decoder alone with all these parameters takes the frames as its prompt. How many times as long?", "",
               lambda p, whole: alone(p) / whole, ("1", "10"), (
            Misconception("the same", lambda p: 1, 0.0, "Every frame and every token now goes through all parameters."),
            Misconception("parameters over the encoder's", lambda p: 1 + p.decoder / p.encoder, 0.25,
                          "That holds for the prompt; tokens grow by another factor."),
            Misconception("parameters over the decoder's", lambda p: 1 + p.encoder / p.decoder, 0.25,
                          "That holds for the tokens; the prompt grows by another factor.")))))
