"""An inference below a control loop: the load of the core, the response time with interruptions, the margin to the deadline."""
import math

from mlsysim import devices, tinyml
from staffml import Misconception, Part, Template


def alone(p):
    return round(float(tinyml.predict(p.net, p.board).seconds), 4)


def response(p):
    """The shortest time in which the inference and all control tasks that start meanwhile are done."""
    time = p.infer
    while (longer := p.infer + math.ceil(time / p.period) * p.control) > time:
        time = longer
    return time


template = Template(
    title="Inference under a control loop", area="latency", topic="real-time-deadlines", track="tiny", level="L4", chapter="V2-11",
    minutes=15, requires=("compute/mcu_peak",),
    space={"net": ("ds-cnn", "resnet-8", "mobilenet-v1-0.25", "autoencoder"), "board": ("stm32f746", "stm32l4r5", "nrf5340", "nrf52840",
           "stm32h743"), "period": (0.005, 0.008, 0.01, 0.02, 0.025, 0.04), "control": (0.001, 0.0015, 0.002, 0.003, 0.004, 0.006, 0.008),
           "deadline": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)},
    derive={"title": lambda p: devices.device(p.board).title, "infer": alone},
    where=lambda p: p.control < p.period / 2 and p.period < p.infer < (1 - p.control / p.period) * (p.deadline - p.period),
    prompt="""
        On one {title} ({board}) a control task of {control:ms} starts every {period:ms} and interrupts whatever runs. Below it an inference
        ({net}) starts every {deadline:ms}, together with a control task in the worst case, and has to be done before the next one
        starts. Without interruptions it takes {infer:ms}. Switching costs nothing.""",
    parts=(
        Part("load", "What share of the time is the core busy?", "%", lambda p: p.control / p.period + p.infer / p.deadline,
             ("10 %", "99.9 %"), (
            Misconception("inference only", lambda p: p.infer / p.deadline, 0.25, "The control task takes its share too."),
            Misconception("control only", lambda p: p.control / p.period, 0.25, "The inference takes its share too."))),
        Part("response", "How long does the inference take in the worst case, interruptions included?", "s", response, ("5 ms", "1 s"), (
            Misconception("alone", lambda p: p.infer, 0.0, "The control task interrupts it."),
            Misconception("once", lambda p: p.infer + p.control, 0.25, "The control task interrupts it again in every period."),
            Misconception("not while waiting", lambda p: p.infer + math.ceil(p.infer / p.period) * p.control, 0.5,
                          "Interruptions make it longer, and more interruptions fall into the longer time.")), tol=0.01),
        Part("margin", "How long before its deadline is it done then?", "s", lambda p, response: p.deadline - response, ("1 ms", "1 s"), (
            Misconception("alone", lambda p: p.deadline - p.infer, 0.0, "That leaves out the control task."),
            Misconception("by load", lambda p, load: p.deadline * (1 - load), 0.25,
                          "That is what a period leaves on average; the end of the inference comes sooner or later than that.")),
             tol=0.03)))
