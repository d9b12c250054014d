"""Weights from fp32 to int8: what they take, and how many fit into the flash of a microcontroller."""
from mlsysim import devices, llm
from staffml import Choice, Misconception, Part, Template


def small(p):
    return llm.weight_bytes(p.params, bytes_per=p.low)


def fit(p):
    return (devices.device(p.board).storage - p.code) / p.low


template = Template(
    title="Four bytes become one", area="precision", topic="quantization-fundamentals", track="tiny", level="L1", chapter="V1-10",
    minutes=4,
    space={"params": tuple(k * 1e3 for k in (22, 26, 38, 45, 52, 60, 77, 96, 110, 140, 190, 210, 250, 330, 470)),
           "code": tuple(k * 2.0**10 for k in (64, 96, 128, 160, 192, 256)), "high": (4,), "low": (1,),
           "board": ("stm32f407", "stm32f746", "stm32h743", "stm32l4r5", "nrf52840", "nrf5340", "rp2040", "rp2350", "esp32-s3")},
    derive={"title": lambda p: devices.device(p.board).title, "flash": lambda p: devices.device(p.board).storage},
    prompt="""
        A network of {params:thousand} weights was trained in fp32, with {high:B} a weight, and is quantized to int8, with {low:B}. It is to
        run on one {title} ({board}), which has {flash:KiB} of flash; the program itself takes {code:KiB} of that.""",
    parts=(
        Choice("size", "How much flash do the int8 weights take?", "B", small, ("10 kB", "1 MB"), (
            Misconception("fp32", lambda p: llm.weight_bytes(p.params, bytes_per=p.high), 0.0, "That is the network before quantization."),
            Misconception("half", lambda p: llm.weight_bytes(p.params, bytes_per=p.high / 2), 0.25, "Half of fp32 is fp16."),
            Misconception("bits as bytes", lambda p: 8 * small(p), 0.25, "Eight bits are one byte."))),
        Part("fit", "How many int8 weights would fit beside the program?", "", fit, ("100000", "10000000"), (
            Misconception("fp32", lambda p: fit(p) / p.high, 0.25, "That is how many would fit in fp32."),
            Misconception("no program", lambda p: fit(p.but(code=0)), 0.5, "The program is in flash as well."),
            Misconception("bits", lambda p: 8 * fit(p), 0.25, "That counts bits; a weight takes a byte.")), tol=0.01)))
