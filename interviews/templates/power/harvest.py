"""A sensor that lives on light: what a day brings, what sleep leaves of it, how often it may infer, what the night needs."""
from mlsysim import devices, tinyml
from staffml import Design, Misconception, Part, Template


def day(p):
    return p.cell * p.sun * p.kept


def wakes(p, day):
    return (day - p.sleep * 86400) / (p.each + p.radio)


template = Template(
    title="A sensor that lives on light", area="power", topic="power-budgeting", track="tiny", level="L6+", chapter="V2-11", minutes=30,
    requires=("power/duty_cycle",),
    space={"net": ("ds-cnn", "resnet-8", "mobilenet-v1-0.25", "autoencoder"), "board": ("stm32l4r5", "nrf52840", "nrf5340"),
           "cell": (0.5e-3, 0.8e-3, 1e-3, 1.5e-3, 2e-3, 3e-3), "sun": tuple(3600.0 * h for h in (3, 4, 5, 6, 8)), "kept": (0.6, 0.7, 0.8),
           "sleep": (5e-6, 10e-6, 20e-6, 30e-6, 50e-6), "radio": (0.2e-3, 0.5e-3, 1e-3, 2e-3, 5e-3)},
    derive={"title": lambda p: devices.device(p.board).title, "each": lambda p: round(float(tinyml.predict(p.net, p.board).energy), 6)},
    where=lambda p: day(p) > (2**2 + 1) * p.sleep * 86400,
    figures={"often": lambda p: 86400 / wakes(p, day(p)), "dark": lambda p: round(wakes(p, day(p) / 2**2)),
             "asleep": lambda p: p.sleep * 86400},
    prompt="""
        A solar cell gives {cell:mW} for {sun:h} of an ordinary day and nothing otherwise; the converter and the store behind it keep
        {kept:%} of that. The sensor, one {title} ({board}), takes {sleep:µW} around the clock. Whenever it wakes it runs a network
        ({net}), which takes {each:mJ} more, and sends the result for {radio:mJ}, at an even pace day and night.""",
    parts=(
        Part("day", "How much energy does a day bring?", "J", day, ("1 J", "1 kJ"), (
            Misconception("nothing lost", lambda p: p.cell * p.sun, 0.5, "Converter and store lose a part of it."),
            Misconception("all day", lambda p: p.cell * 86400 * p.kept, 0.25, "The cell gives nothing in the dark."))),
        Part("wakes", "How often may it wake in a day?", "", wakes, ("100", "2000000"), (
            Misconception("no sleep", lambda p, day: day / (p.each + p.radio), 0.25, "Sleep takes its share, all day long."),
            Misconception("no radio", lambda p, day: wakes(p.but(radio=0), day), 0.25, "Each result is sent."),
            Misconception("no network", lambda p, day: wakes(p.but(each=0), day), 0.25, "Each result is computed first.")), tol=0.03),
        Part("store", "How much energy must the store hold at dusk for the rest of the day?", "J",
             lambda p, wakes: (1 - p.sun / 86400) * (p.sleep * 86400 + wakes * (p.each + p.radio)), ("500 mJ", "1 kJ"), (
            Misconception("whole day", lambda p, day: day, 0.25, "In the light the cell feeds the sensor as well."),
            Misconception("half a day", lambda p, day: day / 2, 0.25, "It is light for a shorter time than that."),
            Misconception("sleep only", lambda p: (1 - p.sun / 86400) * p.sleep * 86400, 0.0, "It wakes at night as well.")), tol=0.03),
        Design("plan", "For weeks of winter a day brings a quarter. Design how the sensor gets through, and say what its owner gives up.", (
            (0.3, "Sees that sleep comes first: {asleep:J} a day are taken before anything else, and {dark} wakes are left."),
            (0.3, "Sheds in an order, by what is lost: results sent together, sent only when they change, a first stage that wakes the "
                  "network, and only then a slower pace than every {often:s}."),
            (0.2, "Steers by the charge of the store, with a hysteresis, and starts again by itself from empty."),
            (0.2, "Sizes cell or store for the season with numbers, and counts leakage and the ageing of the store.")))))
