"""Distillation for a phone: what the teacher's labels cost, how much they take on disk, how long all of it computes."""
from mlsysim import bounds, devices, llm
from staffml import Fermi, Misconception, Part, Template

PASSES = 3      # the backward pass computes twice what the forward pass does: Kaplan et al. 2020, section 2.1


def label(p):
    return 2 * p.teacher * p.tokens


def learn(p):
    return PASSES * 2 * p.student * p.tokens * p.epochs


def seconds(p, flop):
    return bounds.roofline(flop / p.reached, 0, p.gpu, precision="bf16").seconds / p.count


template = Template(
    title="What a teacher costs", area="optimization", topic="knowledge-distillation", track="mobile", level="L3", chapter="V1-10",
    minutes=10, requires=("compute/training_time",),
    space={"student": (0.5e9, 1e9, 1.5e9, 3e9), "teacher": (27e9, 32e9, 70e9, 123e9, 405e9), "tokens": (20e9, 50e9, 100e9, 200e9, 500e9),
           "epochs": (2, 3, 4), "kept": (16, 32, 64), "vocabulary": (128000, 256000), "each": (4, 6), "count": (64, 128, 256),
           "reached": (0.3, 0.4), "gpu": ("a100", "h100", "mi300x")},
    derive={"card": lambda p: devices.device(p.gpu).title, "peak": lambda p: devices.device(p.gpu).rate("bf16")},
    where=lambda p: seconds(p, label(p) + learn(p)) < 2**5 * 86400,
    prompt="""
        A student of {student:billion} parameters for a phone learns from a dense teacher of {teacher:billion}. The teacher reads the
        {tokens:billion} tokens of the data once; of its {vocabulary} probabilities for each token the {kept} largest are stored, each
        in {each:B} together with its token. The student is then trained on that for {epochs} epochs. Both run on {count} devices of the
        type {card} ({gpu}), which reach {reached:%} of {peak:TFLOP/s} each.""",
    parts=(
        Part("label", "How many operations do the teacher's labels take?", "FLOP", label, ("1 EFLOP", "1 YFLOP"), (
            Misconception("trained too", lambda p: PASSES * label(p), 0.5, "The teacher only runs forward; nobody trains it."),
            Misconception("every epoch", lambda p: label(p) * p.epochs, 0.5, "Its answers are stored, so it reads the data once."),
            Misconception("MAC as FLOP", lambda p: label(p) / 2, 0.5, "A multiply-add is two operations."))),
        Part("stored", "How much storage do the labels take?", "B", lambda p: llm.weight_bytes(p.tokens * p.kept, bytes_per=p.each),
             ("1 GB", "1 PB"), (
            Misconception("all of them", lambda p: p.tokens * p.vocabulary * p.each, 0.25, "Only the largest ones are stored."),
            Misconception("one a token", lambda p: p.tokens * p.each, 0.25, "The student learns from several a token."))),
        Fermi("time", "Without a calculator: how long do labelling and training take together?", "s",
              lambda p: seconds(p, label(p) + learn(p)), ("10 min", "3000 days"), (
            Misconception("one device", lambda p: seconds(p.but(count=1), label(p) + learn(p)), 0.0, "All the devices work on it."),
            Misconception("milli for kilo", lambda p: seconds(p, label(p) + learn(p)) / 1e3, 0.0,
                          "You slipped by three powers of ten.")))))
