"""A sealed box in the sun: the watts that its case gives off, the energy of a frame, the frames that leaves, and a plan."""
from mlsysim import bounds, devices, sustainability
from staffml import Design, Misconception, Part, Template


def seconds(p):
    return bounds.roofline(p.work / p.reached, p.traffic, p.board, precision="int8").seconds


def limit(p):
    return (p.hottest - p.outside) / p.resistance


template = Template(
    title="A sealed box in the sun", area="power", topic="thermal-management", track="edge", level="L6+", chapter="V2-11", minutes=30,
    requires=("latency/frame_budget",),
    space={"outside": (35, 40, 45, 50, 55), "hottest": (85, 90, 95), "resistance": (2.0, 2.5, 3.0, 3.5, 4.0), "idle": (3.0, 4.0, 5.0),
           "work": tuple(2e9 * g for g in (30, 45, 60, 80, 100, 130, 160)), "traffic": (40e6, 80e6, 120e6), "reached": (0.3, 0.4, 0.5),
           "board": ("jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "jetson-xavier-nx")},
    derive={"title": lambda p: devices.device(p.board).title, "peak": lambda p: devices.device(p.board).rate("int8"),
            "bandwidth": lambda p: devices.device(p.board).bandwidth.value, "power": lambda p: devices.device(p.board).power.value},
    where=lambda p: p.idle + 2 < limit(p) < p.idle + (p.power - p.idle) / 2,
    figures={"cool": lambda p: round(1 / seconds(p)), "margin": lambda p: limit(p) - p.idle},
    prompt="""
        A sealed box without a fan counts vehicles at a junction. Its {title} ({board}) may reach {hottest} °C; outside it is up to
        {outside} °C, and every watt inside makes the chip {resistance:plain} kelvin warmer than that. The box draws {idle:W} at rest and
        {power:W} while it works on a frame. A frame takes {work:GMAC} in int8 and moves {traffic:MB}; the chip does {peak:TOP/s}
        at best and reaches {reached:%} of it, while its memory moves {bandwidth:GB/s}.""",
    parts=(
        Part("limit", "How much power may the box draw for long?", "W", limit, ("4 W", "60 W"), (
            Misconception("from freezing", lambda p: p.hottest / p.resistance, 0.25, "Heat flows by the difference to the air outside."),
            Misconception("multiplied", lambda p: (p.hottest - p.outside) * p.resistance, 0.0, "Kelvins over kelvins a watt are watts."))),
        Part("frame", "How much energy does a frame take beyond the power at rest?", "J",
             lambda p: sustainability.machine_energy(1, seconds(p), power=p.power) - p.idle * seconds(p), ("1 mJ", "20 J"), (
            Misconception("rest included", lambda p: p.power * seconds(p), 0.5, "The power at rest is drawn anyway."),
            Misconception("at the peak", lambda p: (p.power - p.idle) * seconds(p.but(reached=1)), 0.25, "It does not reach its peak."))),
        Part("frames", "How many frames a second does that allow?", "", lambda p, limit, frame: (limit - p.idle) / frame, ("1", "2000"), (
            Misconception("no rest", lambda p, limit, frame: limit / frame, 0.25, "Part of that power is drawn at rest."),
            Misconception("cool", lambda p: 1 / seconds(p), 0.0, "That is what it computes; it would get too hot."))),
        Part("share", "What share is that of the frames that it could compute?", "%", lambda p, frames: frames * seconds(p),
             ("2 %", "90 %"), (
            Misconception("by power", lambda p, limit: limit / p.power, 0.25, "The power at rest has to come off both."),
            Misconception("what is lost", lambda p, frames: 1 - frames * seconds(p), 0.25, "That is the share that is lost."))),
        Design("plan", "The city wants twice these frames on the hottest day. What do you change, in which order, and how do you prove "
               "it?", (
            (0.3, "Sees that heat is the limit, as {cool} frames a second could be computed, and begins with the energy of a frame: a "
                  "smaller network, fewer frames where nothing moves, lower clock and voltage rather than pauses at full clock."),
            (0.3, "Then the case: resistance to the air, sun and dust on it, with the watts that this adds to the {margin:W} above rest."),
            (0.2, "Says what the box does when it is hotter than planned: which frames it drops first, and that it reports so, before "
                  "the chip throttles or shuts down by itself."),
            (0.2, "Proves it in a climate chamber at full load until temperatures are steady, and logs them in the field.")))))
